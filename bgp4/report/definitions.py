"""Every metric: what it means, in what unit, and what tables call it.

A metric is computed in `bgp4.report.metrics`, under its key here. The report prints this list, and
docs/metrics.md repeats it.
"""

from typing import NamedTuple

__all__ = ["METRICS", "Metric"]


class Metric(NamedTuple):
    """One number of a report, or several by residue or stereocentre.

    Attributes:
        definition: What it is, in one or two sentences.
        unit: `share` (of 1, printed in percent), `kT`, `kJ/mol`, `K`, `nats`, `h` or `s`.
        label: What the comparison of several runs calls it; it's left out there without one.
        error: Key of its standard error, if that is a metric as well.
    """

    definition: str
    unit: str = ""
    label: str = ""
    error: str = ""


_MARGINALS = {
    "mean": "Total variation between the distributions of samples and MD, mean over all {kinds}.",
    "max": "The largest of these total variations.",
    "max_of": "Name of the {kind} with the largest total variation.",
    "mean_reweighted": "{kind}_tv_mean of the reweighted samples.",
    "max_reweighted": "{kind}_tv_max of the reweighted samples.",
    "max_of_reweighted": "The same for {kind}_tv_max_reweighted.",
    "sampling_floor": "{kind}_tv_mean that N perfect, independent samples would show from counting "
    "noise alone.",
    "sampling_floor_reweighted": "The same for N x ess_raw perfect samples.",
    "noise_floor": "{kind}_tv_mean between the first and second half of the MD frames.",
}

METRICS: dict[str, Metric] = {
    "temperature_k": Metric(
        "Temperature of the run, which sets kT, in K.",
        unit="K",
    ),
    "n_samples": Metric(
        "Samples drawn from the flow, N.",
        label="Samples",
    ),
    "finite_fraction": Metric(
        "Share of samples whose coordinates, energy and log-density are finite.",
        unit="share",
    ),
    "n_rejected": Metric(
        "Finite samples that OpenMM rejected, or with an energy of 1e6 kT or more; their "
        "weight is 0."
    ),
    "ess_raw": Metric(
        "Effective sample size as a fraction of 1: 1/(N sum w^2), w = softmax(-u - log q).",
        unit="share",
        label="Effective sample size",
    ),
    "ess_clipped": Metric(
        "The same after the top 1e-4 of the weights (at least two) are set to the "
        "smallest among them.",
        unit="share",
    ),
    "max_weight": Metric(
        "Largest single normalised weight; 1/N would be ideal.",
        unit="share",
    ),
    "coverage": Metric(
        "Share of MD frames in bins of the (phi, psi) map that hold a sample, mean over "
        "residues. Without phi and psi, the mean over all rotatable torsions or, without these, "
        "over all bonds and angles.",
        unit="share",
        label="Coverage of MD",
    ),
    "coverage_expected": Metric(
        "The coverage that N perfect, independent samples would reach.",
        unit="share",
    ),
    "log_likelihood_heldout": Metric(
        "Mean Cartesian log-density of held-out MD frames (nm, rigid motion "
        "factored out), in nats. Higher is better.",
        unit="nats",
        label="Held-out log-likelihood / nats",
    ),
    "ramachandran_bins": Metric(
        "Bins along phi and along psi over [-pi, pi) in the ramachandran_ rows."
    ),
    "ramachandran_tv": Metric(
        "Total variation between the (phi, psi) histograms of samples and MD: "
        "half the sum of |p - q|, from 0 to 1.",
        label="Ramachandran total variation",
    ),
    "ramachandran_kl": Metric(
        "KL divergence of the samples' histogram from MD's, sum p ln(p/q) with p of "
        "MD, in nats; 1e-6 is added to every bin of both.",
        unit="nats",
    ),
    "ramachandran_js": Metric(
        "Jensen-Shannon divergence of the two histograms, in nats, from 0 to ln 2.",
        unit="nats",
    ),
    "ramachandran_tv_reweighted": Metric(
        "ramachandran_tv of the reweighted samples.",
        label="the same, reweighted",
    ),
    "ramachandran_kl_reweighted": Metric(
        "ramachandran_kl of the reweighted samples.",
        unit="nats",
    ),
    "ramachandran_js_reweighted": Metric(
        "ramachandran_js of the reweighted samples.",
        unit="nats",
    ),
    "ramachandran_tv_sampling_floor": Metric(
        "Total variation that N perfect, independent samples would show from counting noise alone."
    ),
    "ramachandran_tv_sampling_floor_reweighted": Metric(
        "The same for N x ess_raw perfect samples."
    ),
    "ramachandran_tv_noise_floor": Metric(
        "Total variation between the first and second half of the MD frames."
    ),
    "ramachandran_tv_by_residue": Metric("ramachandran_tv of each residue that has phi and psi."),
    "ramachandran_tv_reweighted_by_residue": Metric("ramachandran_tv_reweighted of each residue."),
    "ramachandran_tv_sampling_floor_by_residue": Metric(
        "ramachandran_tv_sampling_floor of each residue."
    ),
    "ramachandran_tv_sampling_floor_reweighted_by_residue": Metric(
        "The same for N x ess_raw perfect samples."
    ),
    "ramachandran_tv_noise_floor_by_residue": Metric(
        "ramachandran_tv_noise_floor of each residue."
    ),
    "state_shares_md": Metric(
        "Share of MD frames in each state that the run watches.", unit="share"
    ),
    "state_shares_samples": Metric(
        "Share of samples in each state; 0 means that it is lost.",
        unit="share",
        label="Share of {}, samples",
    ),
    "state_shares_reweighted": Metric(
        "Share of the total weight in each state.", unit="share", label="Share of {}, reweighted"
    ),
    "state_verdicts": Metric(
        "Compares state_shares_samples with state_shares_md: as in the data, or off by more than a "
        "factor of 2 and not by chance (p < 0.001 for all states together)."
    ),
    "state_verdicts_reweighted": Metric(
        "The same for state_shares_reweighted, with N x ess_raw samples. If it is off, the "
        "state's free energy cannot be trusted."
    ),
    "state_delta_f_kt": Metric(
        "Free energy of each state against all else, -ln(P / (1 - P)), of the reweighted samples, "
        "in kT.",
        unit="kT",
    ),
    "state_delta_f_error_kt": Metric("Bootstrap standard error of state_delta_f_kt.", unit="kT"),
    "state_delta_f_md_kt": Metric("state_delta_f_kt of the MD frames.", unit="kT"),
    "state_delta_f_md_error_kt": Metric(
        "Bootstrap standard error of state_delta_f_md_kt, over 20 blocks of successive frames.",
        unit="kT",
    ),
    "delta_f_phi_kt": Metric(
        "Free-energy difference -ln(P(phi > 0) / P(phi < 0)) of the reweighted samples, in kT, "
        "for the first residue that has phi and psi.",
        unit="kT",
        label="ΔF of φ > 0 / kT",
        error="delta_f_phi_error_kt",
    ),
    "delta_f_phi_raw_kt": Metric(
        "delta_f_phi_kt of the unweighted samples.",
        unit="kT",
    ),
    "delta_f_phi_md_kt": Metric(
        "delta_f_phi_kt of the MD frames.",
        unit="kT",
    ),
    "delta_f_phi_bar_kt": Metric(
        "delta_f_phi_kt by Bennett's acceptance ratio within each side of phi, "
        "from the samples and the MD frames that the flow was not trained on.",
        unit="kT",
    ),
    "delta_f_phi_error_kt": Metric(
        "Bootstrap standard error of delta_f_phi_kt.",
        unit="kT",
    ),
    "delta_f_phi_raw_error_kt": Metric(
        "Bootstrap standard error of delta_f_phi_raw_kt.",
        unit="kT",
    ),
    "delta_f_phi_md_error_kt": Metric(
        "Bootstrap standard error of delta_f_phi_md_kt, over 20 blocks of successive frames.",
        unit="kT",
    ),
    "delta_f_phi_bar_error_kt": Metric(
        "Bootstrap standard error of delta_f_phi_bar_kt, over single "
        "samples and 20 blocks of successive frames.",
        unit="kT",
    ),
    "delta_f_phi_missing": Metric(
        "The side of phi that has no weight, which makes delta_f_phi_kt infinite (null)."
    ),
    "delta_f_phi_raw_missing": Metric("The side of phi that has no sample."),
    "delta_f_phi_md_missing": Metric("The side of phi that has no MD frame."),
    "delta_f_phi_bar_missing": Metric(
        "The side of phi that has no accepted sample or no held-out MD "
        "frame, so that there is no estimate."
    ),
    **{
        f"{kind}_tv_{name}": Metric(
            definition.format(kind=kind, kinds=kinds),
            label=f"Total variation of {kind}s" if name == "mean" else "",
        )
        for kind, kinds in (
            ("torsion", "rotatable torsions"),
            ("bond", "bonds"),
            ("angle", "angles"),
        )
        for name, definition in _MARGINALS.items()
    },
    "mean_energy_shift_kt": Metric(
        "Mean energy of the accepted samples minus MD's, in kT.",
        unit="kT",
    ),
    "mean_energy_shift_kjmol": Metric(
        "mean_energy_shift_kt in kJ/mol.",
        unit="kJ/mol",
    ),
    "median_energy_shift_kt": Metric(
        "Median energy of the accepted samples minus MD's, in kT.",
        unit="kT",
    ),
    "median_energy_shift_kjmol": Metric(
        "median_energy_shift_kt in kJ/mol.",
        unit="kJ/mol",
    ),
    "mean_energy_shift_reweighted_kt": Metric(
        "Mean energy of the reweighted samples minus MD's, in kT.",
        unit="kT",
        label="Mean energy error, reweighted / kT",
        error="mean_energy_shift_reweighted_error_kt",
    ),
    "mean_energy_shift_reweighted_kjmol": Metric(
        "mean_energy_shift_reweighted_kt in kJ/mol.",
        unit="kJ/mol",
    ),
    "mean_energy_shift_reweighted_error_kt": Metric(
        "Bootstrap standard error of mean_energy_shift_reweighted_kt, including MD's error, in kT.",
        unit="kT",
    ),
    "low_energy_fraction": Metric(
        "Share of samples with an energy below the highest of the MD frames.",
        unit="share",
        label="Low-energy fraction",
    ),
    "low_energy_fraction_reweighted": Metric(
        "The same as a share of the weight.",
        unit="share",
    ),
    "low_energy_fraction_noise": Metric(
        "The same for MD frames with Gaussian noise on every coordinate.",
        unit="share",
    ),
    "wrong_chirality_fraction": Metric(
        "Share of samples with a mirrored stereocentre, relative to most MD frames.",
        unit="share",
    ),
    "wrong_chirality_fraction_reweighted": Metric(
        "The same as a share of the weight.",
        unit="share",
    ),
    "wrong_chirality_by_centre": Metric(
        "Share of samples in which each stereocentre is mirrored.",
        unit="share",
    ),
    "wrong_chirality_by_centre_reweighted": Metric(
        "The same as a share of the weight.",
        unit="share",
    ),
    "chirality_verdict": Metric("As in the data, or mirrored if any sample is."),
    "constrained_bonds": Metric(
        "Bonds that the MD had constrained. Their lengths were drawn from the force field. They "
        "count in MD's energies and the held-out likelihood, and are not compared."
    ),
    "system_constraints": Metric(
        "Bonds that the System constrains. Samples have its lengths, and these are not compared."
    ),
    "lengths_set": Metric(
        "Whether MD had other lengths at the System's constrained bonds, so that they were set."
    ),
    "n_energy_evaluations": Metric(
        "Energy evaluations that training used.",
        label="Energy evaluations",
    ),
    "core_hours": Metric(
        "CPU time of the training process in hours, without OpenMM's workers.",
        unit="h",
        label="Core hours of training",
    ),
    "wall_time_s": Metric(
        "Wall time by stage, in seconds.",
        unit="s",
    ),
}
"""Metrics by their key in metrics.json, in the order of the report."""
