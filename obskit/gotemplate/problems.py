"""What goes wrong with a value in a template, before anybody knows where in the template that was."""

from __future__ import annotations


class ValueProblem(Exception):  # noqa: N818 - not an error of ours yet: the evaluator turns it into a TemplateError
    """A value cannot be used this way. The message is for the person who wrote the template."""
