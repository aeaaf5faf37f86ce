"""All stages from a molecule to a judged ensemble, each done once and taken up where it is.

What is there says what is left to do: a config, frames, run folders, samples. So a second call goes
on, and every stage can be done by hand with the commands of the same names.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from bgp4.config import Config, existing_data
from bgp4.dynamics.into_file import is_interrupted, simulate_into
from bgp4.errors import RunError, UserInputError
from bgp4.molecule.molecule import Molecule, load_molecule
from bgp4.parallel.interrupt import gone_on_with
from bgp4.parallel.progress import followed, progress
from bgp4.pipeline.cost import duration
from bgp4.pipeline.deciding import Next, Situation, next_step
from bgp4.pipeline.evidence import (
    MOST_DRAWS,
    chains_of,
    evidence_of_md,
    evidence_of_refined,
    evidence_of_run,
)
from bgp4.pipeline.folder import EnsembleFolder, Status
from bgp4.pipeline.judgement import Evidence, StateEvidence, judge
from bgp4.pipeline.planning import plan, starting_config
from bgp4.pipeline.reference import make_reference
from bgp4.pipeline.request import RunRequest
from bgp4.pipeline.verdict import Judgement, Trust
from bgp4.pipeline.view import stages_shown
from bgp4.report.collect import collect_run
from bgp4.report.report import write_report
from bgp4.report.result import RunResult
from bgp4.sampling.draw import Drawn, draw_samples
from bgp4.sampling.files import read_samples
from bgp4.sampling.refined import RefinedStatistics
from bgp4.sampling.request import SampleRequest
from bgp4.statistics.weights import effective_sample_size_clipped
from bgp4.storage.bundled import find_data
from bgp4.storage.lock import locked_folder, locked_output
from bgp4.training.alone import alone
from bgp4.training.begin import train_run
from bgp4.training.run import RunFolder

__all__ = ["run_ensemble"]

Say = Callable[[str], None]

MOST_PER_EFFECTIVE = 20
"""Samples for each effective one, at most: of an ESS below 5 % chains make more."""

LEAST_SHARE, LEAST_STEPS = 0.2, 100
"""Of the first training's steps, that another one has at least."""

SAFE = 0.8
"""Share of the time that is left for a training; samples and a report take the rest."""

SLOWER_RATE = 0.5
"""Peak learning rate of another training, over the first one's: its flow is good already."""

OF_ROUND = ("train", "sample", "judge")
"""Stages of each training."""

REFINE_S = 30.0
"""Time that a refinement should have."""


def run_ensemble(request: RunRequest, say: Say) -> Status:
    """Go on with a folder until the ensemble is good, or its time is over.

    Args:
        request: What is asked for.
        say: Called with a line after each stage.

    Raises:
        UserInputError: If the molecule is refused, or the folder is another's.
        RunError: If a training fails.
        KeyboardInterrupt: If it was pressed; a second call goes on.
    """
    folder = EnsembleFolder.open(request.folder, request.named)
    if folder.is_done(request):
        return folder.status
    made = not folder.path.exists()
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserInputError(f"-o {folder.path}: cannot be made: {error.strerror}") from error
    try:
        with (
            locked_folder(folder.path),
            followed(folder.heard, request.quiet),
            gone_on_with("the same command"),
        ):
            return _Run(request, folder, say).go()
    except KeyboardInterrupt:
        folder.stop("interrupted")
        raise
    except Exception as error:
        folder.stop(str(error) or type(error).__name__)
        raise
    finally:
        if made and not any(folder.path.iterdir()):
            folder.path.rmdir()


class _Judged(NamedTuple):
    """An ensemble with its verdict; the better of two is that of the better verdict, then that of
    more effective samples.
    """

    judgement: Judgement
    evidence: Evidence
    ensemble: Path
    result: RunResult | None = None
    run: RunFolder | None = None
    left: Mapping[str, str] = MappingProxyType({})
    """What the stages that made it left, in words."""

    @property
    def rank(self) -> tuple[int, float]:
        order = (Trust.NOT, Trust.USABLE, Trust.CONVERGED)
        return order.index(self.judgement.trust), self.evidence.effective


@dataclass
class _Run:
    """The stages of one call."""

    request: RunRequest
    folder: EnsembleFolder
    say: Say
    on_screen: bool = False
    """Whether the terminal shows all stages, with what they leave."""

    def __post_init__(self) -> None:
        self.status = self.folder.status

    def go(self) -> Status:
        """All stages."""
        with self.folder.stage("propose"):
            config, first_run = starting_config(self.request, self.folder, self.say)
            molecule = load_molecule(config.system)
            self.status.temperature_k = config.temperature_k
            self.status.effective_asked = self.request.effective
            self.status.reference = config.report.reference
        with stages_shown(self.folder, self.request.quiet) as self.on_screen:
            with self.folder.stage("plan"):
                begun = first_run is not None or self.folder.training(1).config_path.is_file()
                config, words = plan(config, molecule, self.status, self.request, begun)
            self._said(words)
            if self.request.method == "md":
                best = self._by_md(config, molecule)
            else:
                self._simulate(config)
                best = self._rounds(config, molecule, first_run)
            self._conclude(best)
        return self.status

    def _by_md(self, config: Config, molecule: Molecule) -> _Judged:
        """Parallel tempering alone, until there are as many independent frames."""
        asked, kelvin = self.request.effective, config.temperature_k
        output = self.folder.path / f"{self.request.molecule.stem}_md_{kelvin:g}k.h5"
        with self.folder.stage("simulate"), locked_output(output):
            make_reference(
                *(config, molecule, output, lambda s: 2 * s < self.folder.left_s, asked),
                to_go_on=True,
            )
        self._said(str(output))
        with self.folder.stage("judge"):
            evidence = evidence_of_md(config, molecule, output, asked)
            judgement = judge(evidence)
        self._said(judgement.words)
        return _Judged(judgement, evidence, output)

    def _simulate(self, config: Config) -> None:
        """Frames to learn from, where there are none."""
        missing = [name for name in config.data.paths if find_data(name) is None]
        if not missing:
            return
        output, one = Path(missing[0]), config.of_data
        with self.folder.stage("simulate"), locked_output(output):
            made = simulate_into(one, output, is_interrupted(output))
        self._said(f"{output}: {made.words}")

    def _said(self, words: str) -> None:
        """Of the stage that has ended."""
        self.status.results[self.status.stage] = words
        if not self.on_screen:
            self.say(f"[{self.status.stage}] {words} ({duration(self.status.wall_s)} so far)")

    def _rounds(self, config: Config, molecule: Molecule, first_run: RunFolder | None) -> _Judged:
        """Trainings, each with its samples and its judgement, as long as they are worth it."""
        round_, run = 1, first_run or self.folder.training(1)
        ess: list[float] = []
        best: _Judged | None = None
        start: RunFolder | None = None
        while True:
            try:
                self._train(config, run, start)
            except RunError as error:
                if best is None:
                    raise
                self.say(f"[train] {run.path}: {error}; the flow before it stands")
                break
            self._sample(run)
            self._reference(config, molecule)
            judged = self._judge(config, run, round_)
            ess.append(judged.evidence.ess)
            best = max(filter(None, (best, judged)), key=lambda one: one.rank)
            steps = self._more_steps(config, run)
            begun = self.folder.training(round_ + 1).config_path.is_file()
            then = next_step(
                Situation(
                    judged.judgement,
                    tuple(ess),
                    steps > 0 or begun,
                    self.folder.left_s > REFINE_S and judged.evidence.effective > 0,
                )
            )
            if then == Next.TRAIN:
                round_ += 1
                start, run = run, self.folder.training(round_)
                config = run.config() if begun else _for_longer(config, steps)
                continue
            if then == Next.REFINE:
                best = max(best, self._refine(config, judged), key=lambda one: one.rank)
            break
        self._report(best)
        return best

    def _train(self, config: Config, run: RunFolder, start: RunFolder | None) -> None:
        """A new training, or on with one that was interrupted."""
        if "core_hours" in run.info():
            return
        resume = run.checkpoint_path.is_file()
        with self.folder.stage("train"):
            train_run(config, run.path, resume, "auto", None if resume or not start else start.path)
        energies = run.info()["n_energy_evaluations"]
        self._said(f"{run.path}: {config.training.steps:,} steps, {energies:,} energies")

    def _sample(self, run: RunFolder) -> None:
        asked = self.request.effective
        most = MOST_PER_EFFECTIVE * asked
        if run.samples_path.is_file():
            old = read_samples(run.samples_path)
            n, ess = len(old.energy_kt), old.ess
            if n * ess >= asked or n >= most:
                return
        with self.folder.stage("sample"), alone(run.samples_path, [run]):
            request = SampleRequest(most, seed=run.config().seed, effective=asked)
            drawn = draw_samples(run, run.samples_path, request)
        self._said(
            f"{run.samples_path}: {drawn.n:,} samples, ESS {drawn.ess:.1%}, "
            f"{drawn.n * drawn.ess:,.0f} effective"
        )

    def _reference(self, config: Config, molecule: Molecule) -> None:
        """An independent simulation, where there is none."""
        name = config.report.reference
        if name is None or find_data(name) is not None:
            return
        with self.folder.stage("reference"), locked_output(Path(name)):
            make_reference(config, molecule, Path(name), lambda s: 4 * s < self.folder.left_s)
        self._said(f"{name}: parallel tempering at {config.temperature_k:g} K, to judge by")

    def _judge(self, config: Config, run: RunFolder, round_: int) -> _Judged:
        with self.folder.stage("judge"), progress("judging", 2) as report:
            report(0, "energies and densities of the reference's frames")
            result = collect_run(run, reference=config.report.reference)
            result = replace(result, name=self.folder.title(round_))
            report(1, "weights, states, free energy, coverage, chirality")
            evidence = evidence_of_run(result, self.request.effective, _chains(config))
            judgement = judge(evidence)
        self._note_round(run, round_, evidence)
        self._said(f"{run.path}: ESS {evidence.ess:.1%}, {judgement.words}")
        return _Judged(judgement, evidence, run.samples_path, result, run, self._left_by_round())

    def _left_by_round(self) -> dict[str, str]:
        """What the last training and its stages left, in words."""
        return {k: v for k, v in self.status.results.items() if k in OF_ROUND}

    def _note_round(self, run: RunFolder, round_: int, evidence: Evidence) -> None:
        info = run.info()
        del self.status.rounds[round_ - 1 :]
        self.status.rounds.append(
            {
                "run": str(run.path),
                "steps": run.config().training.steps,
                "energy_evaluations": info.get("n_energy_evaluations"),
                "core_hours": info.get("core_hours"),
                "n_samples": evidence.n_samples,
                "ess_raw": evidence.ess,
            }
        )

    def _more_steps(self, config: Config, run: RunFolder) -> int:
        """Of another training that the budget has room for; 0 if that is not worth it."""
        wall = sum(v for k, v in run.info()["wall_time_s"].items() if k.startswith("train_"))
        first = self.status.steps or config.training.steps
        each_s = wall / config.training.steps
        able = int(SAFE * self.folder.left_s / each_s) if each_s else first
        return min(first, able) if able >= max(LEAST_STEPS, LEAST_SHARE * first) else 0

    def _refine(self, config: Config, judged: _Judged) -> _Judged:
        """Chains by a training's flow and MD, of which no sample is heavier than another."""
        run, result = judged.run, judged.result
        assert run is not None
        assert result is not None
        output = run.path / "refined.h5"
        asked = self.request.effective
        with self.folder.stage("refine"), alone(output, [run]):
            request = SampleRequest(2 * asked, seed=config.seed, refine=True)
            drawn = draw_samples(run, output, request)
            statistics = _statistics(drawn)
            if statistics.effective < asked and self.folder.left_s > 3 * self.folder.in_stage_s:
                more = min(1.2 * asked / max(statistics.effective, 1.0), 2.0)
                request = SampleRequest(int(2 * more * asked), seed=config.seed, refine=True)
                drawn = draw_samples(run, output, request)
                statistics = _statistics(drawn)
            states = read_samples(output)
            evidence = evidence_of_refined(result, states, statistics, asked, _chains(config))
            judgement = judge(evidence)
        self._said(f"{output}: {statistics.words}; {judgement.words}")
        return _Judged(judgement, evidence, output, result, run, judged.left)

    def _report(self, best: _Judged) -> None:
        """Of the flow that the ensemble is of."""
        assert best.run is not None
        assert best.result is not None
        if best.left != self._left_by_round():
            self.status.results |= best.left
            if not self.on_screen:
                self.say(f"[judge] {best.run.path} is the best of {len(self.status.rounds)}")
        with self.folder.stage("report"), alone(None, [best.run]):
            self.status.report = str(write_report([best.result], best.run.report_path))
        self._said(self.status.report)

    def _conclude(self, best: _Judged) -> None:
        """The verdict, as status.json has it."""
        judgement, evidence, status = best.judgement, best.evidence, self.status
        status.verdict, status.reasons = str(judgement.trust), judgement.reasons
        status.remarks = judgement.remarks
        if best.result is None:
            status.ess_raw = status.ess_clipped = status.report = None
            status.rounds = []
        else:
            status.ess_raw = best.result.samples.ess
            status.ess_clipped = effective_sample_size_clipped(best.result.safe_log_weight)
        status.checks = [
            {"name": check.name, "grade": str(check.grade), "words": check.words}
            for check in judgement.checks
        ]
        status.states = [_state_row(state) for state in evidence.states]
        status.n_samples, status.effective_samples = evidence.n_samples, evidence.effective
        draws = [s.md_draws for s in evidence.states if 0 < s.md_share < 1]
        made_s = status.wall_s_by_stage.get("reference")
        status.parallel_tempering_s = None
        if draws and made_s and judgement.trust != Trust.NOT:
            status.parallel_tempering_s = round(made_s * evidence.effective / min(draws), 1)
        status.ensemble = str(best.ensemble)
        status.stage, status.progress, status.planned_left_s = "done", "", None
        self.folder.write()


def _chains(config: Config) -> int:
    """Of the reference."""
    return chains_of(existing_data(str(config.report.reference), "report.reference"))


def _statistics(drawn: Drawn) -> RefinedStatistics:
    assert isinstance(drawn.chain, RefinedStatistics)
    return drawn.chain


def _for_longer(config: Config, steps: int) -> Config:
    """Another training, which begins with the flow of the one before."""
    rate = SLOWER_RATE * config.training.energy_learning_rate
    update = {"steps": steps, "energy_learning_rate": rate}
    return config.model_copy(update={"training": config.training.model_copy(update=update)})


def _state_row(state: StateEvidence) -> dict[str, Any]:
    return {
        "label": state.label,
        "share": state.share,
        "error": state.error,
        "reference_share": None if math.isnan(state.md_share) else state.md_share,
        "reference_draws": state.md_draws if state.md_draws < MOST_DRAWS else None,
        "reference_by_symmetry": state.md_draws >= MOST_DRAWS,
    }
