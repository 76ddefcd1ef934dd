"""What people read of a study's history: sentences, and a page that works offline.

`hpopt.report(...)`, what a user's script calls, has this package's name, which Python binds to the
package as soon as somebody imports it. So the package can be called, and does the same.
"""

import sys
from types import ModuleType

from ..reporting import report


class _Package(ModuleType):
    __call__ = staticmethod(report)


sys.modules[__name__].__class__ = _Package
