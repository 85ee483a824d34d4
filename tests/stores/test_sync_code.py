"""Plain functions, retried by tenacity: Django and SQLAlchemy in threads, on PostgreSQL."""

import os
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
import tenacity

from stale_retry import retry_if_conflict

pytestmark = pytest.mark.servers

THREADS, EACH = 10, 5
retried = tenacity.retry(
    retry=retry_if_conflict(),
    wait=tenacity.wait_random_exponential(multiplier=0.05, max=2),
    stop=tenacity.stop_after_delay(30),
    reraise=True,
)


@pytest.fixture
def url(provide):
    provide('"DATABASE_URL"')
    return os.environ["DATABASE_URL"]


def in_threads(withdraw):
    """How many calls failed."""

    def each(_):
        try:
            withdraw()
        except Exception:
            return 1
        return 0

    with ThreadPoolExecutor(THREADS) as threads:
        return sum(threads.map(each, range(THREADS * EACH)))


@pytest.mark.parametrize("retries", [True, False])
def test_sqlalchemy(url, retries):
    from sqlalchemy import create_engine
    from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

    class Base(DeclarativeBase):
        pass

    class Account(Base):
        __tablename__ = f"accounts_{uuid.uuid4().hex}"
        id: Mapped[str] = mapped_column(primary_key=True)
        version: Mapped[int] = mapped_column()
        balance: Mapped[int]
        __mapper_args__ = {"version_id_col": version}  # noqa: RUF012

    def withdraw():
        with Session(engine) as session, session.begin():
            session.get_one(Account, "alice").balance -= 1

    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"), pool_size=THREADS)
    Base.metadata.create_all(engine)
    with Session(engine) as session, session.begin():
        session.add(Account(id="alice", balance=0))
    failed = in_threads(retried(withdraw) if retries else withdraw)
    with Session(engine) as session:
        assert session.get_one(Account, "alice").balance == failed - THREADS * EACH
    engine.dispose()
    assert bool(failed) == (not retries)


@pytest.mark.parametrize("retries", [True, False])
def test_django(url, retries):
    import django
    from django.conf import settings
    from psycopg import IsolationLevel
    from psycopg.conninfo import conninfo_to_dict

    where = conninfo_to_dict(url)
    if not settings.configured:
        database = {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": where["dbname"],
            "HOST": where["host"],
            "USER": where["user"],
            "OPTIONS": {"isolation_level": IsolationLevel.SERIALIZABLE},
        }
        settings.configure(DATABASES={"default": database})
        django.setup()
    from django.db import connection, connections, transaction

    def withdraw():
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("SELECT balance FROM django_accounts")
                cursor.execute("UPDATE django_accounts SET balance = %s", [cursor.fetchone()[0] - 1])
        finally:
            connections.close_all()

    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS django_accounts")
        cursor.execute("CREATE TABLE django_accounts (balance int)")
        cursor.execute("INSERT INTO django_accounts VALUES (0)")
    failed = in_threads(retried(withdraw) if retries else withdraw)
    with connection.cursor() as cursor:
        cursor.execute("SELECT balance FROM django_accounts")
        assert cursor.fetchone()[0] == failed - THREADS * EACH
    connections.close_all()
    assert bool(failed) == (not retries)
