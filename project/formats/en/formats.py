"""How the administration writes times: to the second, as the pages do."""

DATETIME_FORMAT = "Y-m-d H:i:s"
