"""Every model that has scored here, by its id: whichever scores now, old scores can be computed again."""

import structlog

from infra.composition import model_path
from infra.settings import Settings
from models.manifest import load as load_manifest
from models.manifest import manifest_name
from models.onnx import OnnxModel, Provider
from processors.features import FEATURE_NAMES, FEATURES_ID
from schemas.errors import ModelError


def model_of(settings: Settings, model_id: str, provider: Provider = "cpu") -> OnnxModel | None:
    """The ONNX model that rows, or the log, name; None where it is gone or cannot be used, which is logged with its reason."""
    current = model_path(settings)
    try:
        path = current.with_name(manifest_name(model_id))
        if not path.exists():  # saved before models were kept by their ids
            path = current
        if load_manifest(path).id != model_id:
            return None
        model = OnnxModel.load(
            path, provider=provider, expected_features=FEATURE_NAMES, expected_features_id=FEATURES_ID
        )
    except ModelError as error:
        structlog.get_logger().warning("model cannot be used", model=model_id, reason=str(error))
        return None
    if model.provider != provider:
        structlog.get_logger().warning("model runs elsewhere", model=model_id, asked=provider, provider=model.provider)
    return model
