"""Any image-text model of the library that has no family of its own: what the library tells of it has to do."""

from pidflow.models.families._family import Family

FAMILY = Family(name="generic")
