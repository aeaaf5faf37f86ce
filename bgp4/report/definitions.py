"""What each metric means: the definitions that the report prints and docs/metrics.md repeats."""

__all__ = ["DEFINITIONS"]

_MARGINALS = {
    "mean": "Total variation between the distributions of samples and MD, mean over all {kinds}.",
    "max": "The largest of these total variations.",
    "max_of": "Its name.",
    "mean_reweighted": "{kind}_tv_mean of the reweighted samples.",
    "max_reweighted": "{kind}_tv_max of the reweighted samples.",
    "max_of_reweighted": "Its name.",
    "sampling_floor": "{kind}_tv_mean that N perfect, independent samples would show from counting "
    "noise alone.",
    "sampling_floor_reweighted": "The same for N x ess_raw perfect samples.",
    "noise_floor": "{kind}_tv_mean between the first and second half of the MD frames.",
}

DEFINITIONS: dict[str, str] = {
    "temperature_k": "Temperature of kT, in K.",
    "n_samples": "Samples drawn from the flow, N.",
    "finite_fraction": "Share of samples whose coordinates, energy and log-density are finite.",
    "n_rejected": "Finite samples that OpenMM rejected, or of 1e6 kT and more; their weight is 0.",
    "ess_raw": "Effective sample size as a fraction of 1: 1/(N sum w^2), w = softmax(-u - log q).",
    "ess_clipped": "The same after the top 1e-4 of the weights (at least two) are set to the "
    "smallest among them.",
    "max_weight": "Largest single normalised weight; 1/N would be ideal.",
    "coverage": "Share of MD frames in bins that hold a sample, of the (phi, psi) map or, without "
    "one, of each rotatable torsion, or else of each bond and angle; the mean over these.",
    "coverage_expected": "coverage of as many perfect, independent samples.",
    "log_likelihood_heldout": "Mean Cartesian log-density of held-out MD frames (nm, rigid motion "
    "factored out), in nats. Higher is better.",
    "ramachandran_bins": "Bins along phi and along psi over [-pi, pi) in the ramachandran_ rows.",
    "ramachandran_tv": "Total variation between the (phi, psi) histograms of samples and MD: "
    "half the sum of |p - q|, from 0 to 1.",
    "ramachandran_kl": "KL divergence of the samples' histogram from MD's, sum p ln(p/q) with p of "
    "MD, in nats; 1e-6 is added to every bin of both.",
    "ramachandran_js": "Jensen-Shannon divergence of the two histograms, in nats, from 0 to ln 2.",
    "ramachandran_tv_reweighted": "ramachandran_tv of the reweighted samples.",
    "ramachandran_kl_reweighted": "ramachandran_kl of the reweighted samples.",
    "ramachandran_js_reweighted": "ramachandran_js of the reweighted samples.",
    "ramachandran_tv_sampling_floor": "Total variation that N perfect, independent samples would "
    "show from counting noise alone.",
    "ramachandran_tv_sampling_floor_reweighted": "The same for N x ess_raw perfect samples.",
    "ramachandran_tv_noise_floor": "Total variation between the first and second half of the MD "
    "frames.",
    "ramachandran_tv_by_residue": "ramachandran_tv of each residue that has phi and psi.",
    "ramachandran_tv_reweighted_by_residue": "ramachandran_tv_reweighted of each residue.",
    "ramachandran_tv_sampling_floor_by_residue": "ramachandran_tv_sampling_floor of each residue.",
    "ramachandran_tv_sampling_floor_reweighted_by_residue": "The same for N x ess_raw perfect "
    "samples.",
    "ramachandran_tv_noise_floor_by_residue": "ramachandran_tv_noise_floor of each residue.",
    "phi_positive_md": "Share of MD frames with phi > 0. All rows of phi are of the first residue "
    "that has phi and psi, the first of the _by_residue rows.",
    "phi_positive_samples": "Share of samples with phi > 0; 0 means that this mode is lost.",
    "phi_positive_reweighted": "Share of phi > 0 by weight.",
    "phi_positive_verdict": "phi_positive_samples against phi_positive_md: as in the data, or off "
    "by more than a factor of 2, and not by chance (p < 0.001).",
    "phi_positive_reweighted_verdict": "The same for phi_positive_reweighted, of N x ess_raw "
    "samples; where it is off, delta_f_phi_kt can't be trusted.",
    "delta_f_phi_kt": "Free-energy difference -ln(P(phi > 0) / P(phi < 0)) of the reweighted "
    "samples, in kT.",
    "delta_f_phi_raw_kt": "delta_f_phi_kt of the unweighted samples.",
    "delta_f_phi_md_kt": "delta_f_phi_kt of the MD frames.",
    "delta_f_phi_bar_kt": "delta_f_phi_kt from both ends, by Bennett's acceptance ratio within "
    "each side: the samples, and the MD frames that the flow was not trained on.",
    "delta_f_phi_error_kt": "Bootstrap standard error of delta_f_phi_kt.",
    "delta_f_phi_raw_error_kt": "Bootstrap standard error of delta_f_phi_raw_kt.",
    "delta_f_phi_md_error_kt": "Bootstrap standard error of delta_f_phi_md_kt, over 20 blocks of "
    "successive frames.",
    "delta_f_phi_bar_error_kt": "Bootstrap standard error of delta_f_phi_bar_kt, over single "
    "samples and 20 blocks of successive frames.",
    "delta_f_phi_missing": "The side of phi without any weight, which makes delta_f_phi_kt "
    "infinite (null).",
    "delta_f_phi_raw_missing": "The side of phi without any sample.",
    "delta_f_phi_md_missing": "The side of phi without any MD frame.",
    "delta_f_phi_bar_missing": "The side of phi without any accepted sample or held-out MD frame: "
    "no estimate.",
    **{
        f"{kind}_tv_{name}": definition.format(kind=kind, kinds=kinds)
        for kind, kinds in (
            ("torsion", "rotatable torsions"),
            ("bond", "bonds"),
            ("angle", "angles"),
        )
        for name, definition in _MARGINALS.items()
    },
    "mean_energy_shift_kt": "Mean energy of the accepted samples minus MD's, in kT.",
    "mean_energy_shift_kjmol": "mean_energy_shift_kt in kJ/mol.",
    "median_energy_shift_kt": "Median energy of the accepted samples minus MD's, in kT.",
    "median_energy_shift_kjmol": "median_energy_shift_kt in kJ/mol.",
    "mean_energy_shift_reweighted_kt": "Mean energy of the reweighted samples minus MD's, in kT.",
    "mean_energy_shift_reweighted_kjmol": "mean_energy_shift_reweighted_kt in kJ/mol.",
    "mean_energy_shift_reweighted_error_kt": "Bootstrap standard error of "
    "mean_energy_shift_reweighted_kt, MD's part included, in kT.",
    "low_energy_fraction": "Share of samples with an energy below the highest of the MD frames.",
    "low_energy_fraction_reweighted": "The same by weight.",
    "low_energy_fraction_noise": "The same for MD frames with Gaussian noise on every coordinate.",
    "wrong_chirality_fraction": "Share of samples with a stereocentre of the mirrored sign "
    "(against most MD frames).",
    "wrong_chirality_fraction_reweighted": "The same by weight.",
    "wrong_chirality_by_centre": "Share of samples with the mirrored sign at each stereocentre.",
    "wrong_chirality_by_centre_reweighted": "The same by weight.",
    "chirality_verdict": "As in the data, or mirrored where any sample is.",
    "n_energy_evaluations": "Energy evaluations that training used.",
    "core_hours": "CPU time of training, in hours; of its own process, not of OpenMM's workers.",
    "wall_time_s": "Wall time by stage, in seconds.",
}
"""Key of metrics.json to its definition, in the order of the report."""
