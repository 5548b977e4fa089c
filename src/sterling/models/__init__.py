"""Models as data: what a trainer gets, what it may return, and what is kept, evaluated and served."""

from sterling.models.calibrated import Calibrated
from sterling.models.columns import Column
from sterling.models.forest import Forest, Tree
from sterling.models.model import Model
from sterling.models.predictors import CategoryTerm, Constant, Linear, NumberTerm, Predictor
from sterling.models.prepared import Made, Prepared
from sterling.models.rows import TrainingRows
from sterling.models.rule import Shares
from sterling.models.trees import Trees

__all__ = [
    "Calibrated",
    "CategoryTerm",
    "Column",
    "Constant",
    "Forest",
    "Linear",
    "Made",
    "Model",
    "NumberTerm",
    "Predictor",
    "Prepared",
    "Shares",
    "TrainingRows",
    "Tree",
    "Trees",
]
