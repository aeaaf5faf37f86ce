"""The figures of a report: which plot, under which file name, and how to read it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from matplotlib.figure import Figure

from bgp4.report.plots_energies import plot_energies
from bgp4.report.plots_maps import plot_ramachandran
from bgp4.report.plots_marginals import plot_geometry, plot_torsions
from bgp4.report.plots_profiles import plot_profiles
from bgp4.report.plots_training import plot_training
from bgp4.report.plots_weights import plot_weights
from bgp4.report.result import RunResult

__all__ = ["FIGURES", "FigureEntry"]


class FigureEntry(NamedTuple):
    """A figure of the report.

    Attributes:
        name: Of its files in the report folder, without their endings.
        plot: Draws it for the runs; `None` where they have nothing to show.
        title: Its heading.
        caption: How to read it.
        alt: What it is, for readers who don't see it.
    """

    name: str
    plot: Callable[[Sequence[RunResult]], Figure | None]
    title: str
    caption: str
    alt: str


FIGURES = (
    FigureEntry(
        name="energies",
        plot=plot_energies,
        title="Energies",
        caption="Each violin shows how potential energies u are distributed, in units of kT. The "
        "bar spans the middle half, the dot is the median and the line across the mean."
        " The dashed line is the highest energy among the MD frames, and the share above each"
        " column is that of energies below it (the low-energy fraction). The noise column "
        "shows what a tiny random displacement of every coordinate does to MD frames: good "
        "samples must be more precise than that. Reweighted samples should match the MD "
        "column.",
        alt="Violin plot of potential energies of MD data, noisy MD data, samples and reweighted "
        "samples",
    ),
    FigureEntry(
        name="ramachandran",
        plot=plot_ramachandran,
        title="Backbone torsions",
        caption="How often each pair of backbone torsions occurs, as −ln p, one row per residue. "
        "Dark is common, bright is rare, and blank means that no sample fell there. All panels "
        "share one colour scale, so equal colours mean equal populations. Lines part the basins of "
        "MD's smoothed histogram. Look for basins that MD has and the samples lack, above all "
        "φ > 0 (right half), and for samples where MD has none.",
        alt="Maps of the joint distribution of phi and psi for MD data, samples and reweighted "
        "samples",
    ),
    FigureEntry(
        name="profiles",
        plot=plot_profiles,
        title="Free-energy profiles",
        caption="Free energy −ln p along φ and ψ of each residue, zero at MD's lowest bin. Bands "
        "are one standard error: from blocks of successive frames for MD, from the weights for the "
        "reweighted samples. Solid and black should agree within the bands; the dotted line is the "
        "flow's own density without weights. A gap in a line is a bin without samples.",
        alt="Free-energy profiles along phi and psi with error bands",
    ),
    FigureEntry(
        name="torsions",
        plot=plot_torsions,
        title="All rotatable torsions",
        caption="The distribution of the torsion about each bond outside rings whose rotation "
        "moves more than a methyl group, each on its own scale: grey is MD, the dotted line the "
        "samples, the solid one the samples by weight. TV, the total variation, is the share of "
        "samples that would have to move for the two to agree; at its floor it is counting noise "
        "alone, "
        "and the difference between the halves of MD is MD's own uncertainty. Look for peaks of "
        "MD that the samples lack.",
        alt="Distributions of every rotatable torsion for MD data, samples and reweighted samples",
    ),
    FigureEntry(
        name="geometry",
        plot=plot_geometry,
        title="Worst bonds and angles",
        caption="The bonds and angles, up to twelve, whose distributions are the farthest from "
        "MD's, the worst first; all others are closer. Grey is MD, the dotted line the samples, "
        "the solid one the samples by weight. The shaded ends hold everything outside the central "
        "99.8 % of the MD frames. TV, the total variation, is counting noise alone at its floor, "
        "and the difference between the halves of MD is MD's own uncertainty.",
        alt="Distributions of the bonds and angles that differ most between MD data and samples",
    ),
    FigureEntry(
        name="weights",
        plot=plot_weights,
        title="Weights",
        caption="Left: how the weights scatter around the ideal of equal weights (dashed). A "
        "narrow peak is good; a few samples far to the right mean that they decide every average. "
        "Right: the effective sample size as samples are added. It should settle; a sudden drop is "
        "one sample of large weight from a region that the flow rarely visits. The dotted line "
        "has the largest weights clipped.",
        alt="Histogram of log-weights, and effective sample size over the number of samples",
    ),
    FigureEntry(
        name="training",
        plot=plot_training,
        title="Training",
        caption="Losses, the log-likelihood of MD frames kept out of the training, a rough "
        "estimate of the effective sample size, and the share of generated samples in the state "
        "that MD is in most seldom (dotted: MD's), each over the steps at which it was evaluated. "
        "Dashed lines mark where another phase begins. Held-out likelihood that falls while the "
        "loss still improves means overfitting.",
        alt="Training curves over optimizer steps",
    ),
)
"""In the order of the report."""
