"""From a command line that was understood to a service that answers: one process or several, and their children."""
