"""Numbers as people read them."""


def thousands(number: int) -> str:
    """Format an integer with spaces between thousands, as in 60 000."""
    return f"{number:,}".replace(",", " ")


def percent(share: float) -> str:
    """Format a share in [0, 1] as in `99.9 %`. Only exactly 1 prints as 100.0 %."""
    highest = 99.9 if share < 1 else 100
    return f"{min(100 * share, highest):.1f} %"


def quantity(value: float, digits: int = 4) -> str:
    """Format a number to `digits` significant digits, as in 0.01234 and 32 540."""
    rounded = float(f"{value:.{digits}g}")
    return f"{rounded:,.15g}".replace(",", " ")


def fraction(value: float) -> str:
    """Format R², or an accuracy as a share, with four decimals, as in 0.9877.

    Where R² is far below 0, the text is shorter.
    """
    return f"{value:.4f}" if value > -1e4 else f"{value:.2e}"


def metric_text(name: str, value: float | None) -> str:
    """Format a result by its name, an accuracy in percent. None gives no text."""
    if value is None:
        return ""
    if name.endswith("accuracy"):
        return f"{100 * value:.2f}"
    if name.endswith("r2"):
        return fraction(value)
    if name == "seconds":
        return f"{value:.1f}"
    return quantity(value)


def score_text(name: str, value: float) -> str:
    """Format an accuracy as in `98.77 %`, and R² as in `R² 0.9877`."""
    text = metric_text(name, value)
    return f"R² {text}" if name.endswith("r2") else f"{text} %"
