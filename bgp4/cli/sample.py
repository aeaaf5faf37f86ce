"""`bgp4 sample`: a run folder in, weighted conformations out."""

from __future__ import annotations

import logging
import math
from pathlib import Path

from bgp4.cli.logs import set_up_logging
from bgp4.parallel.device import check_device
from bgp4.sampling.request import SampleRequest
from bgp4.training.alone import alone
from bgp4.training.run import RunFolder

__all__ = ["sample_command"]

log = logging.getLogger(__name__)

SMALL_ESS = 0.01
"""Below this share of the samples a user is warned, as in reports."""


def sample_command(run_path: Path, output: Path | None, request: SampleRequest) -> None:
    """Sample a run into a file, and say what its weights are worth."""
    set_up_logging()
    check_device(request.device)
    run = RunFolder.find(run_path)
    from bgp4.sampling.colvar import check_colvar
    from bgp4.sampling.draw import draw_samples
    from bgp4.sampling.files import check_format, refuse_to_lose, sidecar
    from bgp4.sampling.refined import LARGEST_R_HAT, RefinedStatistics

    path = output or (Path("samples.h5") if run.is_bundled else run.samples_path)
    check_format(path)
    if output is not None:
        refuse_to_lose(path)
    if request.colvar is not None:
        check_colvar(request.colvar, [path, sidecar(path)])
    with alone(path, [run] if path == run.samples_path else []):
        drawn = draw_samples(run, path, request)
    if not drawn.files:
        return
    if drawn.ess < SMALL_ESS:
        log.warning(
            "ESS below %.0f %%: weighted averages depend on a few conformations; train longer, or "
            "draw more samples (-n), or refine them (--refine)",
            100 * SMALL_ESS,
        )
    if isinstance(drawn.chain, RefinedStatistics) and not drawn.chain.agree:
        log.warning(
            "R-hat %.3f, above %g: the chains do not agree, and averages may be wrong; train "
            "longer, or ask for more conformations (-n)",
            *(drawn.chain.r_hat, LARGEST_R_HAT),
        )
    if request.effective is not None and drawn.ess * drawn.n < request.effective:
        log.warning(
            "--effective %d: %d conformations are worth %.0f; raise -n, train longer, or use "
            "--refine",
            *(request.effective, drawn.n, drawn.ess * drawn.n),
        )
    words = ""
    if not math.isnan(drawn.ess):
        words = f", ESS {drawn.ess:.2%}, {drawn.n_rejected} rejected"
        if request.effective is not None:
            words += f"; {drawn.ess * drawn.n:,.0f} effective samples"
    if drawn.chain is not None:
        words += f"; {drawn.chain.words}"
    if not math.isnan(drawn.energy_difference_kt):
        words += f", OpenMM's energies within {drawn.energy_difference_kt:.1g} kT of the batched"
    print(f"wrote {' and '.join(map(str, drawn.files))} ({drawn.n} conformations{words})")
