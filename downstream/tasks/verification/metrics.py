"""Metrics of verification: equal error rate and normalised minimal detection costs."""

from __future__ import annotations

from downstream.tasks.evaluation import Metric

COSTS = {"min_dcf_0.01": 0.01, "min_dcf_0.05": 0.05}  # prior of a target, by metric

METRICS = {
    "eer": Metric("EER", higher_is_better=False),
    "min_dcf_0.01": Metric("minDCF 0.01", higher_is_better=False, percent=False),
    "min_dcf_0.05": Metric("minDCF 0.05", higher_is_better=False, percent=False),
}
