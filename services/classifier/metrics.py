"""What the classifier counts: pictures, snippets, forwards, and the device that it runs on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import nan

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from services.classifier.model.preprocess import REASONS
from services.classifier.port import ModelFacts
from shared.metrics import SECONDS


class ClassifierMetrics:
    """What the classifier counts."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        counter = partial(Counter, registry=registry)
        gauge = partial(Gauge, registry=registry)
        histogram = partial(Histogram, registry=registry)
        self.pictures = counter("clipwatch_classifier_pictures_total", "Pictures that were looked at.")
        self.refused = counter(
            "clipwatch_classifier_pictures_refused_total",
            "Pictures that were left out, by reason.",
            ["reason"],
        )
        for reason in REASONS:
            self.refused.labels(reason)
        self.snippets = counter(
            "clipwatch_classifier_snippets_total",
            "Snippets that were decided: accepted, none or dead.",
            ["outcome"],
        )
        self.label_sets = counter(
            "clipwatch_classifier_label_sets_embedded_total",
            "Label sets whose texts were embedded; a set that is in use is embedded once.",
        )
        self.forward = histogram(
            "clipwatch_classifier_forward_seconds", "Time of one forward of the model.", buckets=SECONDS
        )
        self.device = gauge(
            "clipwatch_classifier_device_info",
            "1 for the device and number format in use.",
            ["device", "dtype", "name"],
        )
        self.gpu_replicas = gauge(
            "clipwatch_classifier_gpu_replicas",
            "Replicas on this one's GPU at the last renewal, itself included; 0 on a CPU, and before it is registered.",
        )
        self.gpu_memory = gauge(
            "clipwatch_classifier_gpu_memory_bytes",
            "Memory of the GPU that is used, by whomever, and free; nan on a CPU.",
            ["state"],
        )
        self.gpu_busy = gauge(
            "clipwatch_classifier_gpu_busy_ratio",
            "Share of time in which the GPU computed, for whomever; nan on a CPU, and where the driver does not tell.",
        )

    def show(
        self,
        facts: ModelFacts,
        name: str,
        gpu_memory: Callable[[], tuple[int, int] | None],
        gpu_busy: Callable[[], float | None],
    ) -> None:
        """Export what the model runs on.

        Each scrape calls `gpu_memory` for the free and the total bytes, and `gpu_busy` for the share of time.
        """
        self.device.labels(facts.device, facts.dtype, name).set(1)

        def free() -> float:
            memory = gpu_memory()
            return nan if memory is None else memory[0]

        def used() -> float:
            memory = gpu_memory()
            return nan if memory is None else memory[1] - memory[0]

        def busy() -> float:
            share = gpu_busy()
            return nan if share is None else share

        self.gpu_memory.labels("used").set_function(used)
        self.gpu_memory.labels("free").set_function(free)
        self.gpu_busy.set_function(busy)
