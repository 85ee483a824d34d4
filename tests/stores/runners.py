"""Runners of the page "A queue for your runner", with models that need no network; the code of each is the page's."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from stale_retry.turns import TurnQueue

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "queue-for-your-runner.md"
CLIENTS, MESSAGES = 10, 5
SENT = CLIENTS * MESSAGES
CHAT = "conversation"
THINKING = 0.005


def answer_to(text: str) -> str:
    return f"answer to {text}"


def code_of(title: str) -> str:
    section = PAGE.read_text().partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    found = re.search(r"^```py\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert found is not None, title
    return found[1]


class NoQueue:
    """Stands for the queue in a bare run."""

    def __call__(self, key: str) -> Any:
        return contextlib.nullcontext()

    def stream(self, key: str, events: Any) -> Any:
        return events


class Chats:
    """Conversations as JSON documents: whoever saves last, wins."""

    def __init__(self) -> None:
        self.stored: dict[str, Any] = {}

    async def load(self, session_id: str) -> Any:
        await asyncio.sleep(0)
        return self.stored.get(session_id)

    async def save(self, session_id: str, value: Any) -> None:
        await asyncio.sleep(0)
        self.stored[session_id] = value


roles: list[list[str]] = []
"""Of the messages of each request that OpenAI Agents made."""


def openai_agents(turns: Any, folder: str) -> Any:
    import agents
    from openai.types.responses import ResponseOutputMessage, ResponseOutputText

    class Model(agents.Model):
        async def get_response(self, system_instructions: Any, input: Any, *_: Any, **__: Any) -> Any:
            items = [{"role": "user", "content": input}] if isinstance(input, str) else input
            roles.append([item["role"] for item in items])
            asked = items[-1]["content"]
            await asyncio.sleep(THINKING)
            text = ResponseOutputText(type="output_text", text=answer_to(asked), annotations=[])
            said = ResponseOutputMessage(id="1", type="message", role="assistant", status="completed", content=[text])
            return agents.ModelResponse(output=[said], usage=agents.Usage(), response_id=None)

        def stream_response(self, *_: Any, **__: Any) -> Any:
            raise NotImplementedError

    agents.set_tracing_disabled(True)
    names = run_code("OpenAI Agents", turns, agent=agents.Agent(name="a", model=Model()), folder=folder)

    async def history() -> list[str]:
        items = await agents.SQLiteSession(CHAT, f"{folder}/chats.db").get_items()
        return [item["content"] if isinstance(item["content"], str) else item["content"][0]["text"] for item in items]

    return names["send"], history


def langgraph(turns: Any, folder: str) -> Any:
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.graph import START, MessagesState, StateGraph

    async def model(state: Any) -> Any:
        await asyncio.sleep(THINKING)
        return {"messages": [("assistant", answer_to(state["messages"][-1].content))]}

    builder = StateGraph(MessagesState)
    builder.add_node("model", model)
    builder.add_edge(START, "model")
    graph = builder.compile(checkpointer=InMemorySaver())

    async def history() -> list[str]:
        state = await graph.aget_state({"configurable": {"thread_id": CHAT}})
        return [message.content for message in state.values["messages"]]

    return run_code("LangGraph", turns, graph=graph)["send"], history


def llama_index(turns: Any, folder: str) -> Any:
    from llama_index.core.agent.workflow import ReActAgent
    from llama_index.core.llms import CompletionResponse, CustomLLM, LLMMetadata
    from llama_index.core.memory import Memory

    class Model(CustomLLM):
        @property
        def metadata(self) -> LLMMetadata:
            return LLMMetadata()

        def complete(self, prompt: str, formatted: bool = False, **_: Any) -> CompletionResponse:
            asked = re.findall(r"user: (\S+)", prompt)[-1]
            return CompletionResponse(text=f"Thought: I can answer\nAnswer: {answer_to(asked)}")

        def stream_complete(self, prompt: str, formatted: bool = False, **_: Any) -> Any:
            said = self.complete(prompt)
            said.delta = said.text
            yield said

    names = run_code("LlamaIndex", turns, agent=ReActAgent(llm=Model(), tools=[]), folder=folder)

    async def history() -> list[str]:
        memory = Memory.from_defaults(session_id=CHAT, **names["DATABASE"])
        return [message.content for message in await memory.aget_all()]

    return names["send"], history


def agent_framework(turns: Any, folder: str) -> Any:
    import agent_framework as framework

    class Model(framework.BaseChatClient):
        async def _answer(self, messages: Any) -> Any:
            await asyncio.sleep(THINKING)
            said = framework.Message("assistant", [answer_to(messages[-1].text)])
            return framework.ChatResponse(messages=[said], response_id="1")

        def _inner_get_response(self, *, messages: Any, stream: bool, options: Any, **_: Any) -> Any:
            return self._answer(messages)

    sessions = framework.FileSessionStore(folder)
    agent = framework.Agent(client=Model())

    async def history() -> list[str]:
        session = await sessions.get(CHAT)
        (memory,) = (value["messages"] for value in session.state.values() if "messages" in value)
        return [message.text for message in memory]

    return run_code("Microsoft Agent Framework", turns, agent=agent, sessions=sessions)["send"], history


def pydantic_ai(turns: Any, folder: str) -> Any:
    from pydantic_ai import Agent
    from pydantic_ai.conversation_store import InMemoryConversationStore
    from pydantic_ai.messages import ModelResponse, TextPart
    from pydantic_ai.models.function import FunctionModel

    async def model(messages: Any, info: Any) -> Any:
        await asyncio.sleep(THINKING)
        return ModelResponse(parts=[TextPart(answer_to(messages[-1].parts[-1].content))])

    store = InMemoryConversationStore()

    async def history() -> list[str]:
        talk = await store.load(CHAT)
        return [message.parts[-1].content for message in talk.messages]

    return run_code("pydantic-ai", turns, agent=Agent(FunctionModel(model)), store=store)["send"], history


def fastapi_websockets(turns: Any, folder: str) -> Any:
    chats = Chats()

    async def respond(session_id: str, text: str) -> str:
        said = [*(await chats.load(session_id) or []), text]
        await asyncio.sleep(THINKING)
        await chats.save(session_id, [*said, answer_to(text)])
        return answer_to(text)

    app = run_code("FastAPI: WebSockets", turns, respond=respond)["app"]

    async def send(session_id: str, text: str) -> str:
        """A socket of its own for each message, by ASGI, as a server speaks to the application."""
        inbox, answers = asyncio.Queue[Any](), []
        inbox.put_nowait({"type": "websocket.connect"})
        inbox.put_nowait({"type": "websocket.receive", "text": text})

        async def take(event: Any) -> None:
            if event["type"] == "websocket.send":
                answers.append(event["text"])
                inbox.put_nowait({"type": "websocket.disconnect", "code": 1000})

        scope = {"type": "websocket", "path": f"/chats/{session_id}", "headers": [], "query_string": b""}
        await app(scope, inbox.get, take)
        return answers[0]

    async def history() -> list[str]:
        return chats.stored[CHAT]

    return send, history


def fastapi_streaming(turns: Any, folder: str) -> Any:
    import httpx

    chats = Chats()

    async def answer(session_id: str, text: str) -> Any:
        said = [*(await chats.load(session_id) or []), text]
        for word in answer_to(text).split():
            await asyncio.sleep(THINKING / 3)
            yield f"{word} "
        await chats.save(session_id, [*said, answer_to(text)])

    app = run_code("FastAPI: streaming", turns, answer=answer)["app"]

    async def send(session_id: str, text: str) -> str:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app") as client:
            answered = await client.post(f"/chats/{session_id}", params={"text": text})
            return answered.text.strip()

    async def history() -> list[str]:
        return chats.stored[CHAT]

    return send, history


def a2a_message(text: str, role: Any = None) -> Any:
    from a2a.types import Message, Part, Role

    role = Role.ROLE_USER if role is None else role
    return Message(message_id=text, role=role, parts=[Part(text=text)], task_id=CHAT, context_id="c")


def a2a_executor() -> Any:
    from a2a.server.agent_execution import AgentExecutor
    from a2a.types import Role, TaskState, TaskStatus, TaskStatusUpdateEvent

    class Executor(AgentExecutor):
        async def execute(self, context: Any, queue: Any) -> None:
            await asyncio.sleep(THINKING)
            said = a2a_message(answer_to(context.message.message_id), Role.ROLE_AGENT)
            status = TaskStatus(state=TaskState.TASK_STATE_INPUT_REQUIRED, message=said)
            await queue.enqueue_event(TaskStatusUpdateEvent(task_id=CHAT, context_id="c", status=status))

        async def cancel(self, context: Any, queue: Any) -> None:
            raise NotImplementedError

    return Executor()


def a2a_sdk(turns: Any, folder: str) -> Any:
    from a2a.server.context import ServerCallContext
    from a2a.server.tasks import InMemoryTaskStore
    from a2a.types import AgentCard, SendMessageRequest, Task, TaskState, TaskStatus

    store, context, handlers = InMemoryTaskStore(), ServerCallContext(), []
    make = run_code("a2a-sdk", turns)["QueueingHandler"]

    async def send(session_id: str, text: str) -> str:
        if not handlers:
            handlers.append(make(a2a_executor(), store, AgentCard(name="a", description="-", version="1")))
            state = TaskStatus(state=TaskState.TASK_STATE_INPUT_REQUIRED)
            await store.save(Task(id=CHAT, context_id="c", status=state), context)
        task = await handlers[0].on_message_send(SendMessageRequest(message=a2a_message(text)), context)
        return task.status.message.message_id

    async def history() -> list[str]:
        task = await store.get(CHAT, context)
        await handlers[0].aclose()
        return [said.message_id for said in [*task.history, task.status.message]]

    return send, history


def run_code(title: str, turns: Any, folder: str | None = None, **given: Any) -> dict[str, Any]:
    """What the page's code for a runner defines."""
    source = code_of(title)
    if folder is not None:
        source = source.replace("chats.db", f"{folder}/chats.db")
    names: dict[str, Any] = {"turns": turns, **given}
    exec(compile(source, f"{PAGE.name}: {title}", "exec"), names)
    return names


RUNNERS: dict[str, Callable[[Any, str], Any]] = {
    "OpenAI Agents": openai_agents,
    "LangGraph": langgraph,
    "LlamaIndex": llama_index,
    "Microsoft Agent Framework": agent_framework,
    "pydantic-ai": pydantic_ai,
    "FastAPI: WebSockets": fastapi_websockets,
    "FastAPI: streaming": fastapi_streaming,
    "a2a-sdk": a2a_sdk,
}
NEEDS = {
    "OpenAI Agents": ("agents", "openai-agents"),
    "LangGraph": ("langgraph.graph", "langgraph"),
    "LlamaIndex": ("llama_index.core", "llama-index-core"),
    "Microsoft Agent Framework": ("agent_framework", "agent-framework-core"),
    "pydantic-ai": ("pydantic_ai", "pydantic-ai-slim"),
    "FastAPI: WebSockets": ("fastapi", "fastapi"),
    "FastAPI: streaming": ("fastapi", "fastapi"),
    "a2a-sdk": ("a2a", "a2a-sdk"),
}


class Outcome(NamedTuple):
    """Of fifty questions: how many are in the history, how many are followed there by their own answer, how many were
    answered to those who asked, and what was raised."""

    kept: int
    in_order: int
    answered: int
    errors: list[Exception]


async def converse(name: str, turns: TurnQueue | None) -> Outcome:
    """Ten clients, five messages each, on one conversation."""
    with tempfile.TemporaryDirectory() as folder:
        send, history = RUNNERS[name](NoQueue() if turns is None else turns, folder)
        answered, errors = 0, []

        async def client(number: int) -> None:
            nonlocal answered
            for message in range(MESSAGES):
                text = f"said-{number}.{message}"
                try:
                    answer = await send(CHAT, text)
                except Exception as error:
                    errors.append(error)
                else:
                    answered += answer == answer_to(text)

        if name != "pydantic-ai":  # whose conversations end after fifty requests, by default
            await send(CHAT, "first")
        await asyncio.gather(*map(client, range(CLIENTS)))
        said = await history()
    kept = {text for text in said if text.startswith("said-")}
    in_order = [one for one, two in itertools.pairwise(said) if one in kept and two.endswith(answer_to(one))]
    return Outcome(len(kept), len(in_order), answered, errors)
