"""The nouns at the hand-offs: Sample and Record come in, Transition, Notice, Action and Outcome go out."""
