"""Numbers as people read them."""


def thousands(number: int) -> str:
    """Format an integer with spaces between thousands, as in 60 000."""
    return f"{number:,}".replace(",", " ")


def percent(share: float) -> str:
    """Format a share in [0, 1] as in `99.9 %`. 100.0 % means all: what is less is at
    most 99.9 %.
    """
    return f"{min(100 * share, 99.9 if share < 1 else 100):.1f} %"


def quantity(value: float, digits: int = 4) -> str:
    """Format a number with so many digits that count, as in 0.01234, 2.5 and 32 540."""
    return f"{float(f'{value:.{digits}g}'):,.15g}".replace(",", " ")


def fraction(value: float) -> str:
    """Format R², or an accuracy as a share, with four decimals, as in 0.9877, and
    shorter where R² is far below 0.
    """
    return f"{value:.4f}" if value > -1e4 else f"{value:.2e}"


def figure(name: str, value: float | None) -> str:
    """Format a result by its name: accuracies in percent, R², losses and seconds as
    numbers, nothing for None.
    """
    if value is None:
        return ""
    if name.endswith("accuracy"):
        return f"{100 * value:.2f}"
    return (
        fraction(value)
        if name.endswith("r2")
        else f"{value:.1f}"
        if name == "seconds"
        else quantity(value)
    )


def score_text(name: str, value: float) -> str:
    """Format an accuracy as in `98.77 %`, and R² as in `R² 0.9877`."""
    return (
        f"R² {figure(name, value)}"
        if name.endswith("r2")
        else f"{figure(name, value)} %"
    )
