"""array-api-strict in the version of the standard that ARRAY_API_VERSION names, such as 2022.12."""

import os

import array_api_strict as xp

xp.set_array_api_strict_flags(api_version=os.environ["ARRAY_API_VERSION"])
