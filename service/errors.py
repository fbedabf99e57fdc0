"""The domain errors, each raised where it is known and translated to HTTP in one table at the edge.

::

    ServiceError
    ├── NotFound                 unknown id, another patient's id, absent tag: all alike
    │   └── NoSuchInstance
    ├── Unauthorized             no valid token
    │   ├── WrongPatient         a valid one, for another patient
    │   ├── PasscodeRequired     the link of a share that has a passcode, without one
    │   └── WrongPasscode
    ├── Forbidden                a valid token whose scope is not enough
    ├── NotForDownload           a share that lets see and not have
    ├── BadParameter             an invalid request, where PS3.18 requires 400
    ├── Invalid                  the request or the file is invalid
    │   ├── NotDicom
    │   ├── LimitExceeded        nesting, inflated bytes, pixels, time
    │   ├── NotRenderable        no picture can be given
    │   └── ExtractionFailed     the stored file could not be extracted, for good
    ├── Conflict                 the request is valid, and what is there or set does not allow it
    │   └── NoPublicUrl          no link can be made
    ├── TooLarge                 more bytes than the service accepts
    ├── StorageFull              more bytes than are kept for one patient
    ├── InboxFull                more than may come by one inbox
    ├── TooManyRequests          one patient has too many requests in progress
    ├── UnsupportedMediaType
    ├── NotAcceptable
    ├── Unavailable              try again later
    │   ├── DatabaseUnavailable
    │   ├── KeysUnavailable      no keys to verify a token with
    │   ├── ExtractionPending
    │   └── Overloaded
    └── WorkerLost               a worker process ended, or ran out of time, in the middle of a job
        └── NoWorker             there is none for it, which is not its fault
"""

from __future__ import annotations


class ServiceError(Exception):
    """What the service can say about a failure.

    Parameters
    ----------
    detail : str
        A sentence for the caller. It never holds patient data, a tag's value or a file name.
    """

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail)
        self.detail = detail


class NotFound(ServiceError):
    """There is no such thing, or not for this patient."""


class NoSuchInstance(NotFound):
    """The patient has no instance of that id, or no longer."""

    def __init__(self) -> None:
        super().__init__("There is no such instance.")


class NoSuchShare(NotFound):
    """The patient has no share of that id, or no longer."""

    def __init__(self) -> None:
        super().__init__("There is no such share.")


class Unauthorized(ServiceError):
    """There is no valid token, or it names another patient.

    Parameters
    ----------
    detail : str
        A sentence for the caller.
    presented : bool
        Whether there was a token at all.
    """

    def __init__(self, detail: str, *, presented: bool = True) -> None:
        super().__init__(detail)
        self.presented = presented


class WrongPatient(Unauthorized):
    """The token is valid, and names another patient.

    Parameters
    ----------
    detail : str
        A sentence for the caller.
    subject, token_id : str or None
        Whose token it is, for the audit.
    """

    def __init__(self, detail: str = "", subject: str | None = None, token_id: str | None = None) -> None:
        super().__init__(detail)
        self.subject = subject
        self.token_id = token_id


class SessionEnded(Unauthorized):
    """The session of a share has ended, or there is none."""

    def __init__(self) -> None:
        super().__init__("The session of this link has ended. Open the link again.")


class PasscodeRequired(Unauthorized):
    """The share has a passcode, and none was sent."""

    def __init__(self) -> None:
        super().__init__("This link needs a passcode.", presented=False)


class WrongPasscode(Unauthorized):
    """The share has another passcode than the one that was sent.

    Parameters
    ----------
    closes : bool
        Whether it was the last that could be tried, and the share has ended.
    """

    def __init__(self, *, closes: bool = False) -> None:
        super().__init__("The passcode is wrong. After ten wrong ones the link is closed for good.", presented=False)
        self.closes = closes


class Forbidden(ServiceError):
    """The token is valid, and its scope is not enough.

    Parameters
    ----------
    detail : str
        A sentence for the caller.
    scope : str
        The scope that is missing.
    """

    def __init__(self, detail: str, scope: str) -> None:
        super().__init__(detail)
        self.scope = scope


class NotForDownload(ServiceError):
    """The caller may look at pictures and tags, and not have the files that they come from."""

    def __init__(self) -> None:
        super().__init__("This share lets you look at pictures and tags, and not download files.")


class Invalid(ServiceError):
    """The request or the file is invalid."""


class BadParameter(ServiceError):
    """The request is invalid, where PS3.18 requires 400; the rest of the API responds with 422."""


class NotDicom(Invalid):
    """The bytes are not a DICOM file."""


class LimitExceeded(Invalid):
    """A bound was passed: nesting, inflated bytes, elements, pixels or time."""


class NotRenderable(Invalid):
    """The object has no picture, or none that can be decoded."""


class ExtractionFailed(Invalid):
    """The stored file could not be extracted, for good."""


class Conflict(ServiceError):
    """The request is valid, and what is there or how the service is set does not allow it."""


class NoPublicUrl(Conflict):
    """Links cannot be made: nobody has said at which address others reach the service."""


class PreconditionFailed(ServiceError):
    """What is there is not what the caller means."""

    def __init__(self) -> None:
        super().__init__("What is there is another version than the one that If-Match or If-Unmodified-Since names.")


class TooLarge(ServiceError):
    """More bytes than the service accepts."""


class StorageFull(ServiceError):
    """A patient's files take as many bytes as they may.

    Parameters
    ----------
    used, allowed : int
        Bytes of the patient's files, and how many they may be.
    size : int
        Bytes of the one that has no room.
    """

    def __init__(self, used: int, allowed: int, size: int) -> None:
        super().__init__(
            f"This patient's files take {used} of the {allowed} bytes allowed, and this file has {size}. "
            "Delete files to make room."
        )


class InboxFull(ServiceError):
    """An inbox takes no more: all that may come has come, or its patient has no room. Which of them is not said."""

    def __init__(self) -> None:
        super().__init__("This inbox takes no more files.")


class TooManyRequests(ServiceError):
    """One patient has too many requests in progress.

    Parameters
    ----------
    detail : str
        A sentence for the caller.
    retry_after : int
        Seconds to wait before trying again.
    """

    def __init__(self, detail: str = "", retry_after: int = 1) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class UnsupportedMediaType(ServiceError):
    """The media type of the request is not supported."""


class NotAcceptable(ServiceError):
    """None of the media types that the caller accepts is available."""


class Unavailable(ServiceError):
    """The service cannot do this now.

    Parameters
    ----------
    detail : str
        A sentence for the caller.
    retry_after : int
        Seconds to wait before trying again.
    """

    def __init__(self, detail: str = "", retry_after: int = 1) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class DatabaseUnavailable(Unavailable):
    """The database does not answer."""


class KeysUnavailable(Unavailable):
    """There are no keys to verify a token with, or none that are new enough to tell."""


class ExtractionPending(Unavailable):
    """The file is stored and its tags are not extracted yet."""


class Overloaded(Unavailable):
    """There is more work than the service takes on."""


class WorkerLost(ServiceError):
    """A worker process ended, or ran out of time, in the middle of a job."""


class NoWorker(WorkerLost):
    """There is no worker process for a job, or no longer; that is not the job's fault."""
