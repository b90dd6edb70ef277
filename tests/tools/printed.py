"""What the notebook prints."""

from typing import Final, NamedTuple


class Figures(NamedTuple):
    """One report of the training loop: the loss of a step, and the test accuracy after it."""

    epoch: int
    sample: int  # the index of the sample in the shuffled epoch
    loss: float
    accuracy: float


class Printed(NamedTuple):
    """What the notebook prints, as numbers."""

    first_output: tuple[float, ...]  # printed by NumPy with nine significant digits
    warm_up: tuple[float, ...]  # printed in full
    reports: tuple[Figures, ...]  # losses printed in full, accuracies exact


# The output in the copy of the notebook ends in epoch 2; the rest of the five epochs is unknown.
PRINTED: Final = Printed(
    first_output=(
        *(2.68663086e-08, 4.59179373e-02, 6.77974378e-04, 2.75506586e-02, 7.74795216e-01, 1.94717364e-02),
        *(7.94041780e-05, 5.08554970e-04, 2.98237201e-02, 1.01174772e-01),
    ),
    warm_up=(
        *(9.16264812588529, 7.223333161807007, 5.830257800794516, 4.705050411253215, 3.731189480421831),
        *(2.895925896543204, 2.213008228387067, 1.6775624030332286, 1.2733157905064107, 0.9784849978958721),
    ),
    reports=(
        Figures(0, 0, 8.21996605027983, 0.0892),
        Figures(0, 10000, 1.2390590076281032, 0.7833),
        Figures(0, 20000, 0.16352187075209745, 0.8358),
        Figures(0, 30000, 0.18625180174804273, 0.8518),
        Figures(0, 40000, 0.017464559994938084, 0.8649),
        Figures(0, 50000, 2.336440394287572, 0.8795),
        Figures(1, 0, 0.03388167125926495, 0.8892),
        Figures(1, 10000, 0.0003113355522074509, 0.8915),
        Figures(1, 20000, 2.4832208308321015, 0.8934),
        Figures(1, 30000, 3.5124014555825642, 0.8997),
        Figures(1, 40000, 0.019325449800918094, 0.9031),
        Figures(1, 50000, 3.402583545306575, 0.9053),
        Figures(2, 0, 0.29551786162378396, 0.9081),
        Figures(2, 10000, 0.00176281519735282, 0.9067),
        Figures(2, 20000, 0.31044146769123204, 0.9101),
    ),
)
