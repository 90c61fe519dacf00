"""``params.yaml``, typed: everything that decides a result, and nothing that says where.

A section is named like its stage. Unknown keys and values out of range are errors naming the key.
"""

from mien.params.data import DatabaseParams, PreprocessParams, SplitParams
from mien.params.generators import (
    FacesParams,
    FilterParams,
    JudgeGeneratorParams,
    PoolParams,
    ScorerParams,
    TrainGeneratorParams,
)
from mien.params.project import Params, load_params, parse_params
from mien.params.section import NAME, Section
from mien.params.sweep import DecideParams, EvaluateParams, ReportParams, SweepParams

__all__ = [
    "NAME",
    "DatabaseParams",
    "DecideParams",
    "EvaluateParams",
    "FacesParams",
    "FilterParams",
    "JudgeGeneratorParams",
    "Params",
    "PoolParams",
    "PreprocessParams",
    "ReportParams",
    "ScorerParams",
    "Section",
    "SplitParams",
    "SweepParams",
    "TrainGeneratorParams",
    "load_params",
    "parse_params",
]
