"""Numbers as people read them."""

import math


def thousands(number: int) -> str:
    """Format an integer with spaces between thousands, as in 60 000."""
    return f"{number:,}".replace(",", " ")


def number_of(count: int, nouns: str) -> str:
    """Format a number of things, as in `1 test image` and `60 000 test images`."""
    if count == 1:
        nouns = nouns.removesuffix("s")
    return f"{thousands(count)} {nouns}"


def percent(share: float, decimals: int = 1) -> str:
    """Format a share in [0, 1] as in `99.9 %`. Only exactly 1 prints as 100.0 %."""
    return f"{100 * _rounding_below_one(share, decimals + 2):.{decimals}f} %"


def quantity(value: float, digits: int = 4) -> str:
    """Format a number to `digits` significant digits, as in 0.01234.

    All digits before the point are kept, as in 32 543.
    """
    if 10**digits - 0.5 <= abs(value) < 1e15:
        return thousands(round(value))
    return f"{value:,.{digits}g}".replace(",", " ")


def loss_text(value: float, decimals: int = 4) -> str:
    """Format a loss with `decimals`, in at most nine characters up to 1e100.

    It has fewer decimals if it is large, and more if less than two digits would show.
    """
    if 0 < value < 10 ** (1 - decimals):
        return quantity(value)
    if value < 1e3:
        return f"{value:.{decimals}f}"
    return f"{value:.1f}" if value < 1e7 else f"{value:.3e}"


def fraction(value: float) -> str:
    """Format R², or an accuracy as a share, with four decimals, as in 0.9877.

    Only exactly 1 prints as 1.0000. Where R² is far below 0, the text is shorter. Where
    it is not defined, the text is a dash.
    """
    if math.isnan(value):
        return "-"
    if value <= -1e4:
        return f"{value:.2e}"
    return f"{_rounding_below_one(value, 4):.4f}"


def _rounding_below_one(share: float, decimals: int) -> float:
    """Return a share that rounds to 1 only if it is 1."""
    return share if share >= 1 else min(share, 1 - 10**-decimals)


def metric_text(name: str, value: float | None) -> str:
    """Format a result by its name, an accuracy in percent. None gives no text."""
    if value is None:
        return ""
    if name.endswith("accuracy"):
        return percent(value, 2).removesuffix(" %")
    if name.endswith("r2"):
        return fraction(value)
    if name == "seconds":
        return f"{value:.1f}"
    return quantity(value)


def spread_text(name: str, mean: float, deviation: float | None) -> str:
    """Format a mean and a deviation with the same decimals, as in `97.37 ± 0.23`."""
    text = metric_text(name, mean)
    if deviation is None:
        return text
    scale = 100 if name.endswith("accuracy") else 1
    decimals = len(text.partition(".")[2])
    return f"{text} ± {scale * deviation:.{decimals}f}"


def score_text(name: str, value: float) -> str:
    """Format an accuracy as in `98.77 %`, and R² as in `R² 0.9877`."""
    text = metric_text(name, value)
    return f"R² {text}" if name.endswith("r2") else f"{text} %"
