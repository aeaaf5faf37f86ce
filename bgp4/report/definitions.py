"""What each metric means: the definitions that the report prints and docs/metrics.md repeats."""

__all__ = ["DEFINITIONS"]

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

DEFINITIONS: dict[str, str] = {
    "temperature_k": "Temperature of the run, which sets kT, in K.",
    "n_samples": "Samples drawn from the flow, N.",
    "finite_fraction": "Share of samples whose coordinates, energy and log-density are finite.",
    "n_rejected": "Finite samples that OpenMM rejected, or with an energy of 1e6 kT or more; their "
    "weight is 0.",
    "ess_raw": "Effective sample size as a fraction of 1: 1/(N sum w^2), w = softmax(-u - log q).",
    "ess_clipped": "The same after the top 1e-4 of the weights (at least two) are set to the "
    "smallest among them.",
    "max_weight": "Largest single normalised weight; 1/N would be ideal.",
    "coverage": "Share of MD frames in bins of the (phi, psi) map that hold a sample, mean over "
    "residues. Without phi and psi, the mean over all rotatable torsions or, without these, over "
    "all bonds and angles.",
    "coverage_expected": "The coverage that N perfect, independent samples would reach.",
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
    "phi_positive_md": "Share of MD frames with phi > 0. All phi rows refer to the first residue "
    "that has phi and psi, which is the first one in the _by_residue rows.",
    "phi_positive_samples": "Share of samples with phi > 0; 0 means that this mode is lost.",
    "phi_positive_reweighted": "Share of the total weight with phi > 0.",
    "phi_positive_verdict": "Compares phi_positive_samples with phi_positive_md: as in the data, "
    "or off by more than a factor of 2 and not by chance (p < 0.001).",
    "phi_positive_reweighted_verdict": "The same for phi_positive_reweighted, with N x ess_raw "
    "samples. If it is off, delta_f_phi_kt cannot be trusted.",
    "delta_f_phi_kt": "Free-energy difference -ln(P(phi > 0) / P(phi < 0)) of the reweighted "
    "samples, in kT.",
    "delta_f_phi_raw_kt": "delta_f_phi_kt of the unweighted samples.",
    "delta_f_phi_md_kt": "delta_f_phi_kt of the MD frames.",
    "delta_f_phi_bar_kt": "delta_f_phi_kt by Bennett's acceptance ratio within each side of phi, "
    "from the samples and the MD frames that the flow was not trained on.",
    "delta_f_phi_error_kt": "Bootstrap standard error of delta_f_phi_kt.",
    "delta_f_phi_raw_error_kt": "Bootstrap standard error of delta_f_phi_raw_kt.",
    "delta_f_phi_md_error_kt": "Bootstrap standard error of delta_f_phi_md_kt, over 20 blocks of "
    "successive frames.",
    "delta_f_phi_bar_error_kt": "Bootstrap standard error of delta_f_phi_bar_kt, over single "
    "samples and 20 blocks of successive frames.",
    "delta_f_phi_missing": "The side of phi that has no weight, which makes delta_f_phi_kt "
    "infinite (null).",
    "delta_f_phi_raw_missing": "The side of phi that has no sample.",
    "delta_f_phi_md_missing": "The side of phi that has no MD frame.",
    "delta_f_phi_bar_missing": "The side of phi that has no accepted sample or no held-out MD "
    "frame, so that there is no estimate.",
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
    "mean_energy_shift_reweighted_kt, including MD's error, in kT.",
    "low_energy_fraction": "Share of samples with an energy below the highest of the MD frames.",
    "low_energy_fraction_reweighted": "The same as a share of the weight.",
    "low_energy_fraction_noise": "The same for MD frames with Gaussian noise on every coordinate.",
    "wrong_chirality_fraction": "Share of samples with a mirrored stereocentre, relative to most "
    "MD frames.",
    "wrong_chirality_fraction_reweighted": "The same as a share of the weight.",
    "wrong_chirality_by_centre": "Share of samples in which each stereocentre is mirrored.",
    "wrong_chirality_by_centre_reweighted": "The same as a share of the weight.",
    "chirality_verdict": "As in the data, or mirrored if any sample is.",
    "n_energy_evaluations": "Energy evaluations that training used.",
    "core_hours": "CPU time of the training process in hours, without OpenMM's workers.",
    "wall_time_s": "Wall time by stage, in seconds.",
}
"""Key of metrics.json to its definition, in the order of the report."""
