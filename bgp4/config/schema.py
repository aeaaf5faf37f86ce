"""One validated model of a run: every key of a config file, its type, its range, its default."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

__all__ = [
    "Config",
    "DataConfig",
    "EnergyConfig",
    "ModelConfig",
    "OptimizerConfig",
    "ReportConfig",
    "SimulateConfig",
    "StateConfig",
    "SystemConfig",
    "TrainingConfig",
]

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]


class Section(BaseModel):
    """A part of the config: frozen, and without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """True and false are for switches; pydantic would take them for 1 and 0."""
        field = cls.model_fields[str(info.field_name)]
        if isinstance(value, bool) and field.annotation is not bool:
            raise ValueError("expected a value other than true or false")
        return value


class SystemConfig(Section):
    """The molecule, from one of several sources.

    These are an openmmtools test system; an Amber prmtop; a GROMACS top, which may include files of
    `include_dir`; a CHARMM psf with the files of `parameters`; a PDB or mmCIF file with a force
    field; the same with a serialised OpenMM System; or an SDF file, which OpenFF parametrises if it
    is installed. Prmtop, top and psf take start positions from `positions` (also called inpcrd).
    `constraints` holds bonds at the System's lengths, which then leave the flow: HBonds, or
    AllBonds of a molecule without flat or small rings. `zmatrix` replaces the Z-matrix of the
    bonds.
    """

    testsystem: str | None = None
    prmtop: Path | None = None
    top: Path | None = None
    include_dir: Path | None = None
    psf: Path | None = None
    parameters: tuple[Path, ...] = ()
    positions: Path | None = Field(
        default=None, validation_alias=AliasChoices("positions", "inpcrd")
    )
    pdb: Path | None = None
    xml: Path | None = None
    sdf: Path | None = None
    forcefield: tuple[str, ...] = ()
    implicit_solvent: Literal["HCT", "OBC1", "OBC2", "GBn", "GBn2"] | None = None
    constraints: Literal["HBonds", "AllBonds", "HAngles"] | None = None
    zmatrix: tuple[tuple[str | int, ...], ...] | None = None

    @model_validator(mode="after")
    def _one_source(self) -> SystemConfig:
        sources = [k for k in _SOURCES if getattr(self, k) is not None]
        if len(sources) != 1:
            raise ValueError(
                f"expected exactly one of {', '.join(_SOURCES)}, found "
                + (" and ".join(sources) or "none")
            )
        if sources[0] in _WITHOUT_POSITIONS and self.positions is None:
            raise ValueError(f"{sources[0]} also needs positions, for the start positions")
        if bool(self.parameters) != (self.psf is not None):
            raise ValueError(
                "psf also needs parameters, a list of CHARMM files (.prm, .rtf, .str), which go "
                "with no other source"
            )
        if self.include_dir is not None and self.top is None:
            raise ValueError("include_dir is for the files that a top includes; leave it out")
        if self.pdb is not None and bool(self.forcefield) == (self.xml is not None):
            raise ValueError(
                "pdb needs either forcefield, a list of OpenMM force field XML names, or xml, a "
                "serialised System"
            )
        if self.xml is not None and self.pdb is None:
            raise ValueError("xml also needs pdb, for atoms, bonds and start positions")
        return self

    @property
    def kind(self) -> str:
        source = next(k for k in _SOURCES if getattr(self, k) is not None)
        return "xml" if self.xml is not None else source

    @property
    def label(self) -> str:
        source = str(getattr(self, self.kind))
        return f"{source} ({self.implicit_solvent})" if self.implicit_solvent else source

    @property
    def files(self) -> tuple[Path, ...]:
        """What it names of the user's files."""
        named = (self.prmtop, self.top, self.psf, *self.parameters, self.positions, self.pdb)
        named += (self.xml, self.sdf)
        return tuple(path for path in named if path is not None)


_SOURCES = ("testsystem", "prmtop", "top", "psf", "pdb", "sdf")
_WITHOUT_POSITIONS = ("prmtop", "top", "psf")


class DataConfig(Section):
    """The MD frames that train the flow, from one trajectory or several in sequence.

    Their temperature is `temperature_k`, else the one that the file stores for all frames, else the
    run's. Without a path, conformations made from the energy replace frames at `temperature_k`.
    `topology` is for files that do not name their atoms and contain more than the molecule, such as
    solvent.
    """

    path: str | tuple[str, ...] | None = "ala2_300k.h5"
    topology: str | None = None
    temperature_k: Positive | None = None
    start: Annotated[int, Field(ge=0)] = 0
    stop: Count | None = None
    stride: Count = 1
    peptide_bonds: Literal["any", "trans"] = "any"
    heldout_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1

    @property
    def paths(self) -> tuple[str, ...]:
        if self.path is None:
            return ()
        return (self.path,) if isinstance(self.path, str) else self.path

    @model_validator(mode="after")
    def _begin_at_a_temperature(self) -> DataConfig:
        if self.path is None and self.temperature_k is None:
            raise ValueError(
                "without path, expected temperature_k, at which to begin (1200 for example)"
            )
        if self.path is not None and not self.paths:
            raise ValueError("path: expected a file or several, found an empty list")
        if self.stop is not None and self.stop <= self.start:
            raise ValueError(f"expected stop above start ({self.start})")
        return self


class SimulateConfig(Section):
    """Langevin MD, or parallel tempering if `temperatures_k` is a ladder.

    With `all_temperatures`, training data are frames of the whole ladder, which ends at
    `data.temperature_k`, as many of each temperature as `frames` says; torsions learn from the
    cooler ones as well. Stacks start from the molecule's positions, or each from others with
    torsions `turned`.
    """

    frames: Count = 50_000
    temperatures_k: tuple[Positive, ...] = ()
    all_temperatures: bool = False
    stacks: Count = 32
    starts: Literal["molecule", "turned"] = "molecule"
    steps_per_frame: Count = 200
    equilibration_frames: Annotated[int, Field(ge=0)] = 500
    timestep_fs: Positive = 1.0
    friction_per_ps: Positive = 2.0
    engine: Literal["auto", "batched", "openmm"] = "auto"
    platform: str = "Reference"
    processes: Count = 2
    checkpoint_s: NonNegative = 60.0

    @property
    def recorded(self) -> int:
        """Temperatures that training data have frames of."""
        return len(self.temperatures_k) if self.all_temperatures else 1

    @field_validator("temperatures_k")
    @classmethod
    def _ascending(cls, ladder: tuple[float, ...]) -> tuple[float, ...]:
        if any(a >= b for a, b in pairwise(ladder)):
            raise ValueError("expected temperatures in ascending order")
        return ladder


Widths = Annotated[tuple[Count, ...], Field(min_length=1)]


class ModelConfig(Section):
    """The flow: its mixing layers, the kind of its couplings, and their width.

    `mixing_start` is the start of p4inv and lu: random permutations, or swaps of the two halves.
    With `reach`, in bonds, linear variables are coupled and mixed within clusters of atoms no wider
    than that. Each cluster has conditioners with `local_hidden` units, which see what is within
    reach of it, and all circular variables. `hidden` is the widths of all other conditioners.
    With `distances`, conditioners of linear variables also see how far atoms are apart at given
    torsions, by so many units.
    """

    mixing: Literal["p4inv", "lu", "permutation", "swap"] = "p4inv"
    mixing_start: Literal["permutation", "swap"] = "permutation"
    coupling: Literal["hybrid", "spline", "affine", "realnvp"] = "hybrid"
    torsions: Literal["circle", "cut", "auto"] = "auto"
    blocks: Count = 6
    torsion_blocks: Count = 4
    reach: Count | None = None
    distances: Count | None = None
    hidden: Widths = (96, 96)
    local_hidden: Widths = (64, 64)
    bins: Annotated[int, Field(ge=2, le=64)] = 8
    precision: Literal["float32", "float64"] = "float32"


class OptimizerConfig(Section):
    """Muon for the conditioners' hidden matrices and Adam for the rest, or Adam for everything.

    Muon's learning rate is always `hidden_rate_factor` times Adam's.
    """

    hidden: Literal["muon", "adam"] = "muon"
    hidden_rate_factor: Positive = 10.0
    hidden_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.95


class TrainingConfig(Section):
    """Maximum likelihood, then likelihood and energies together.

    If the data have a different temperature from the run, the second phase uses energies alone.
    The temperature then moves from the data's to the run's over `anneal_fraction` of its steps, and
    stays there. The learning rates are Adam's peaks; `energy_learning_rate` is for all steps with
    energies. Steps are shorter while the ESS is below `full_step_ess`. With one of torch's
    `threads`, training is bitwise reproducible; null uses all threads that torch has.
    """

    steps: Count = 4_000
    batch_size: Annotated[int, Field(ge=2)] = 512
    learning_rate: Positive = 1e-3
    energy_fraction: Fraction = 0.5
    anneal_fraction: Fraction = 0.6
    energy_batch_size: Annotated[int, Field(ge=2)] = 256
    energy_weight: Fraction = 0.8
    energy_learning_rate: Positive = 2e-4
    energy_cap_kt: Positive = 100.0
    energy_slope_clip: Positive = 50.0
    full_step_ess: Fraction = 0.1
    gradient_clip: Positive = 10.0
    optimizer: OptimizerConfig = OptimizerConfig()
    evaluate_every: Count = 100
    merge_every: Count = 10
    refine_every: Count = 50
    det_penalty: NonNegative = 0.0
    threads: Count | None = 1
    checkpoint_s: NonNegative = 60.0
    tensorboard: bool = False


class EnergyConfig(Section):
    """Energies by `method`: batched if every force is supported (auto), else by OpenMM's workers.

    A worker without an answer after `timeout_s` is replaced.
    """

    method: Literal["auto", "batched", "openmm"] = "auto"
    platform: str = "CPU"
    workers: Count | None = None
    timeout_s: Positive = 60.0


class ReportConfig(Section):
    """The report: samples are compared with the data, or with the frames of `reference`."""

    reference: str | None = None
    samples: Count = 10_000
    noise_nm: Positive = 0.004
    bins: Annotated[int, Field(ge=2, le=512)] = 64
    bootstrap: Annotated[int, Field(ge=2)] = 200


class StateConfig(Section):
    """A state to watch: a torsion, in degrees, or a distance, in nm, in a range.

    A torsion's range goes up from its first number, around the circle.
    """

    name: Annotated[str, Field(min_length=1, max_length=60, pattern=r"^[^,\n]+$")]
    torsion: Annotated[tuple[str, ...], Field(min_length=4, max_length=4)] | None = None
    distance: Annotated[tuple[str, ...], Field(min_length=2, max_length=2)] | None = None
    range: tuple[float, float]

    @model_validator(mode="after")
    def _one_coordinate(self) -> StateConfig:
        if (self.torsion is None) == (self.distance is None):
            raise ValueError("expected either torsion, four atoms, or distance, two atoms")
        low, high = self.range
        widest = 360.0 if self.distance is None else float("inf")
        if not 0 < high - low < widest:
            raise ValueError(f"range: expected [low, high] with low < high, found {[low, high]}")
        return self


class Config(Section):
    """A whole run."""

    system: SystemConfig
    temperature_k: Positive
    seed: Seed = 0
    data: DataConfig = DataConfig()
    simulate: SimulateConfig = SimulateConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    energies: EnergyConfig = EnergyConfig()
    report: ReportConfig = ReportConfig()
    states: tuple[StateConfig, ...] = ()

    @field_validator("system", mode="before")
    @classmethod
    def _testsystem_by_name(cls, value: Any) -> Any:
        return {"testsystem": value} if isinstance(value, str) else value

    @property
    def judging_data(self) -> DataConfig:
        """The frames that a report compares with: `report.reference`, or the data."""
        if self.report.reference is None:
            return self.data
        reference = {"path": self.report.reference, "temperature_k": self.temperature_k}
        return self.data.model_copy(update=reference | {"start": 0, "stop": None, "stride": 1})

    @property
    def of_data(self) -> Config:
        """The same at the temperature of its data, where plain MD mixes if that is higher.

        There are as many replicas as in the ladder, all at that temperature; or the ladder as it
        is, for frames of all its temperatures.
        """
        kelvin = self.data.temperature_k
        apart = self.data.path is not None and kelvin not in (None, self.temperature_k)
        if self.simulate.all_temperatures or not apart:
            return self
        stacks = self.simulate.stacks * max(len(self.simulate.temperatures_k), 1)
        update = {"temperatures_k": (), "stacks": stacks}
        simulate = self.simulate.model_copy(update=update)
        return self.model_copy(update={"temperature_k": kelvin, "simulate": simulate})

    @property
    def of_reference(self) -> Config:
        """The same for frames of its own temperature alone, which are not those to learn from."""
        if not self.simulate.all_temperatures:
            return self
        simulate = self.simulate.model_copy(update={"all_temperatures": False})
        return self.model_copy(update={"simulate": simulate, "seed": self.seed + 1})

    @model_validator(mode="after")
    def _ladder_between(self) -> Config:
        ladder, kelvin = self.simulate.temperatures_k, self.data.temperature_k
        if self.simulate.all_temperatures and (not ladder or ladder[-1] != kelvin):
            end = f"at {ladder[-1]:g}" if ladder else "empty"
            raise ValueError(
                "simulate.all_temperatures: expected data.temperature_k "
                f"({'none' if kelvin is None else f'{kelvin:g}'}) to be where the ladder "
                f"simulate.temperatures_k ends ({end}); or set simulate.all_temperatures to false"
            )
        return self

    @model_validator(mode="after")
    def _energies_to_learn_from(self) -> Config:
        data_k = self.data.temperature_k or self.temperature_k
        if self.data.path is None and self.training.energy_fraction == 0:
            raise ValueError(
                "data.path is null: expected training.energy_fraction above 0, to learn from "
                "energies alone"
            )
        if data_k != self.temperature_k and self.training.energy_fraction == 0:
            raise ValueError(
                f"data.temperature_k is {data_k:g}, temperature_k {self.temperature_k:g}: expected "
                "training.energy_fraction above 0, to get from one to the other by energies"
            )
        return self
