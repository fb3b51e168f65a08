"""Where models are kept, by the settings: the cache of this machine, and the registry."""

from infra.models.cache import FOLDER, ModelCache
from infra.models.vetting import Vetting
from infra.registry import MlflowRegistry, place_of
from infra.settings import Settings
from processors.features import FEATURE_NAMES, FEATURES_ID


def cache_of(settings: Settings) -> ModelCache:
    """The models of this machine."""
    return ModelCache(settings.data / FOLDER, Vetting(FEATURE_NAMES, FEATURES_ID))


def opened(settings: Settings) -> tuple[ModelCache, MlflowRegistry]:
    """The cache and the registry of these settings."""
    registry = settings.registry
    return cache_of(settings), MlflowRegistry(
        place_of(settings.data, registry.url), timeout_s=registry.timeout.total_seconds()
    )
