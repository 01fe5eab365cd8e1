"""What a person can put right: one line that says what is wrong and what to do."""


class Problem(Exception):
    """Shown without a trace."""
