"""Read by Python itself as it starts in the local database's process, and by nothing else.

A thousand documents decoded at once are some hundred thousand lists. With Python's own threshold its collector of
cycles looks at them all again and again while they are made: three quarters of the time of a search. They hold no
cycles, and are freed without it.
"""

import gc

gc.set_threshold(20_000, 50, 100)
