"""As much of Firestore, in memory, as FirestoreSessionService uses; transactions are those of Google's own library."""

import copy
import operator
import time
from datetime import datetime, timezone

from google.api_core.exceptions import Aborted
from google.cloud import firestore

OPERATORS = {"==": operator.eq, ">=": operator.ge}


class Client:
    """The server and its client in one. `seconds_ahead` is what the server's clock shows more than this machine's."""

    def __init__(self, seconds_ahead=0.0):
        self.documents = {}
        self.writes = {}
        self.seconds_ahead = seconds_ahead

    def collection(self, name):
        return Collection(self, (name,))

    def collection_group(self, name):
        return Group(self, (name,))

    def transaction(self):
        return Transaction(self)

    def batch(self):
        return Batch(self)

    async def get_all(self, documents):
        for document in documents:
            yield Snapshot(document)

    def write(self, path, data, *, update=False):
        now = datetime.fromtimestamp(time.time() + self.seconds_ahead, tz=timezone.utc)
        data = {key: now if value is firestore.SERVER_TIMESTAMP else value for key, value in data.items()}
        self.documents[path] = copy.deepcopy({**(self.documents[path] if update else {}), **data})
        self.writes[path] = self.writes.get(path, 0) + 1

    def delete(self, path):
        self.documents.pop(path, None)
        self.writes[path] = self.writes.get(path, 0) + 1


class Collection:
    def __init__(self, client, path):
        self.client, self.path = client, path

    def document(self, name):
        return Document(self.client, (*self.path, name))

    def order_by(self, field):
        return Query(self, field)

    def where(self, *, filter):
        return Query(self, None).where(filter=filter)

    def snapshots(self):
        paths = [path for path in self.client.documents if path[:-1] == self.path]
        return [Snapshot(Document(self.client, path)) for path in paths]

    async def stream(self):
        for snapshot in self.snapshots():
            yield snapshot


class Group(Collection):
    """Every collection of that name, wherever it is."""

    def snapshots(self):
        paths = [path for path in self.client.documents if path[-2:-1] == self.path]
        return [Snapshot(Document(self.client, path)) for path in paths]


class Query:
    def __init__(self, collection, field, filters=(), last=None):
        self.collection, self.field, self.filters, self.last = collection, field, filters, last

    def where(self, *, filter):
        return Query(self.collection, self.field, (*self.filters, filter), self.last)

    def limit_to_last(self, count):
        return Query(self.collection, self.field, self.filters, count)

    async def get(self):
        found = [snapshot for snapshot in self.collection.snapshots() if all(map(snapshot.matches, self.filters))]
        if self.field is not None:
            found.sort(key=lambda snapshot: (snapshot.data[self.field], snapshot.id))
        return found if self.last is None else found[-self.last :]


class Document:
    def __init__(self, client, path):
        self.client, self.path, self.id = client, path, path[-1]

    def collection(self, name):
        return Collection(self.client, (*self.path, name))

    async def get(self, transaction=None):
        if transaction is not None:
            transaction.read[self.path] = self.client.writes.get(self.path, 0)
        return Snapshot(self)

    async def delete(self):
        self.client.delete(self.path)


class Snapshot:
    def __init__(self, document):
        self.reference, self.id = document, document.id
        self.data = copy.deepcopy(document.client.documents.get(document.path))
        self.exists = self.data is not None

    def to_dict(self):
        return self.data

    def matches(self, filter):
        return OPERATORS[filter.op_string](self.data[filter.field_path], filter.value)


class Batch:
    def __init__(self, client):
        self.client, self.operations = client, []

    def delete(self, document):
        self.operations.append(lambda: self.client.delete(document.path))

    async def commit(self):
        for operation in self.operations:
            operation()
        self.operations = []


class Transaction(Batch):
    """What `firestore.async_transactional` drives: optimistic, so that a commit which lost is aborted."""

    _max_attempts, _read_only = 5, False

    def set(self, document, data):
        self.operations.append(lambda: self.client.write(document.path, data))

    def update(self, document, data):
        self.operations.append(lambda: self.client.write(document.path, data, update=True))

    def _clean_up(self):
        self.read, self.operations, self._id = {}, [], None

    async def _begin(self, retry_id=None):
        self._id = b"transaction"

    async def _rollback(self):
        self._clean_up()

    async def _commit(self):
        if any(self.client.writes.get(path, 0) != writes for path, writes in self.read.items()):
            raise Aborted("the transaction was contended")
        await self.commit()
