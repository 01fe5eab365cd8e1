"""`python -m db` is `python -m db.migrate`."""

import sys

from db.migrate import main

sys.exit(main())
