"""Go's text/template on plain values, bounded in output, steps and depth. Which functions there are, a Dialect says."""
