"""A run's config: its keys, and how it is read from a file."""

from bgp4.config.reading import (
    as_config,
    differences,
    dump_config,
    existing_data,
    load_config,
    refuse_changes,
    validate_config,
)
from bgp4.config.schema import (
    Config,
    DataConfig,
    EnergyConfig,
    ModelConfig,
    OptimizerConfig,
    ReportConfig,
    SimulateConfig,
    StateConfig,
    SystemConfig,
    TrainingConfig,
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
    "as_config",
    "differences",
    "dump_config",
    "existing_data",
    "load_config",
    "refuse_changes",
    "validate_config",
]
