"""mumei: discovery without labels, for people who work with biomedical data.

Importing this package loads nothing heavy; `mumei.load` and the capability packages import what they need when used.
"""

from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def load(path: Any) -> Any:
    """Load anything that mumei saved: a trained model, an encoder, an estimator.

    Parameters
    ----------
    path : str or Path
        A folder written by an object's `save(path)`.

    Returns
    -------
    object
        An instance of the class that the artifact's kind names in the registry.

    Raises
    ------
    mumei.core.errors.ArtifactError
        The folder is missing, incomplete, altered or of an unknown kind.
    """
    from mumei.core.artifact import load as load_artifact

    return load_artifact(path)
