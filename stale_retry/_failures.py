"""What one call has failed with so far: the last error, the last rejection, and what brought the doubt."""

from __future__ import annotations

from ._chain import NOTHING_HANDLED, behind, drop_frames


class Failures:
    """Belongs to one call.

    Attributes:
        error: what the last attempt, or a refresh that counts as one, failed with.
        rejection: the last error that said "nothing was stored".
        doubt: the last error that left it open.
        in_doubt: whether the event may be stored.
        handled: the identities of what the caller is just handling, which is nothing of ours.
    """

    # Errors are kept here and in no local variable that outlives its block: an error holds the frames it passed
    # through, and a frame that holds the error in turn keeps session and event alive until a garbage collection.

    __slots__ = ("doubt", "error", "handled", "in_doubt", "rejection")

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.rejection: Exception | None = None
        self.doubt: Exception | None = None
        self.in_doubt = False
        self.handled = NOTHING_HANDLED

    @property
    def origin(self) -> Exception | None:
        """The error that all this is about."""
        for error in (self.rejection, self.doubt):
            if error is not None:
                return error
        return self.error

    @property
    def is_rejected(self) -> bool:
        """Whether the last failure said that nothing was stored."""
        return self.error is self.rejection

    def take(self, error: Exception) -> None:
        previous, self.error = self.error, error
        self._let_go_of(previous)

    def take_rejection(self, error: Exception) -> None:
        previous, self.rejection = self.rejection, error
        self.take(error)
        self._let_go_of(previous)

    def take_doubt(self, error: Exception) -> None:
        previous, self.doubt = self.doubt, error
        self.in_doubt = True
        self.take(error)
        self._let_go_of(previous)

    def clear_doubt(self) -> None:
        previous, self.doubt = self.doubt, None
        self.in_doubt = False
        self._let_go_of(previous)

    def let_go_of_frames(self) -> None:
        """Keep of the last failure what is told of it only: a block's frames hold the block's attempts, which would
        hold its slot until a garbage collection if the block were left.
        """
        if self.error is not None:
            drop_frames(self.error, self.handled)

    def clear(self) -> None:
        self.error = self.rejection = self.doubt = None

    def _let_go_of(self, previous: Exception | None) -> None:
        """Of a failure that is not the last one, the frames; the error itself stays as long as it is told of."""
        if previous is not None and not any(link is self.error for link in behind(previous)):
            drop_frames(previous, self.handled)
