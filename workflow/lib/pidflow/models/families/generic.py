"""Any image-text model of the library that has no family of its own: what the library tells of it has to do."""

from pidflow.models.families._family import Family
from pidflow.models.families._layouts import measured

FAMILY = Family(name="generic", layout=measured, measured=True)
