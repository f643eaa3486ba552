"""Numbers as people read them."""


def numeral(value: float | int, form: str = ".2f") -> str:
    """With a real minus in place of a hyphen."""
    return f"{value:{form}}".replace("-", "−")
