// SPDX-License-Identifier: Apache-2.0
"use strict";

const $ = (id) => document.getElementById(id);
const SETTINGS = ["temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_tokens", "seed"];

// ---- what is kept in the browser -----------------------------------------------------------------

const store = {
  read(key, otherwise) {
    try { return JSON.parse(localStorage.getItem("lanner." + key)) ?? otherwise; } catch { return otherwise; }
  },
  write(key, value) {
    try { localStorage.setItem("lanner." + key, JSON.stringify(value)); } catch { status("The browser's storage is full", true); }
  },
};

let conversations = store.read("conversations", []);
let current = null;
let running = null;  // {controller, ...} while an answer comes
let models = [];

const save = () => store.write("conversations", conversations);

function newConversation() {
  current = { id: crypto.randomUUID?.() ?? String(Date.now()), title: "New chat", messages: [] };
}

// ---- small helpers --------------------------------------------------------------------------------

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") node.className = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

function status(text, bad = false) {
  $("state").textContent = text;
  $("state").classList.toggle("bad", bad);
}

async function copy(text, button) {
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Not allowed";
  }
  setTimeout(() => { button.textContent = before; }, 1500);
}

// ---- Markdown: only nodes are made, never HTML text -----------------------------------------------

function inline(text, into) {
  const pattern = /(`+)([^`]|[^`][\s\S]*?[^`])\1(?!`)|\*\*([^*]+(?:\*[^*]+)*)\*\*|\*([^*\s](?:[^*]*[^*\s])?)\*|~~([^~]+)~~|\[([^\]]+)\]\((https?:\/\/[^\s)]+)\)/g;
  let last = 0;
  for (const match of text.matchAll(pattern)) {
    into.append(text.slice(last, match.index));
    last = match.index + match[0].length;
    if (match[1]) into.append(element("code", {}, match[2]));
    else if (match[3]) { const node = element("strong"); inline(match[3], node); into.append(node); }
    else if (match[4]) { const node = element("em"); inline(match[4], node); into.append(node); }
    else if (match[5]) into.append(element("del", {}, match[5]));
    else into.append(element("a", { href: match[7], rel: "noopener noreferrer", target: "_blank" }, match[6]));
  }
  into.append(text.slice(last));
}

function codeBlock(language, text) {
  const button = element("button", { type: "button" }, "Copy");
  button.addEventListener("click", () => copy(text, button));
  return element("div", { class: "code" },
    element("div", { class: "bar" }, element("span", {}, language || "code"), button),
    element("pre", { tabindex: "0" }, element("code", {}, text)));
}

const LIST = /^(\s*)([-*+]|\d+[.)])\s+(.*)$/;
const cells = (line) => line.trim().replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim());

function listBlock(lines, start) {
  const indent = lines[start].match(LIST)[1].length;
  const numbered = /\d/.test(lines[start].match(LIST)[2]);
  const list = element(numbered ? "ol" : "ul");
  if (numbered) list.start = parseInt(lines[start].match(LIST)[2], 10);
  let at = start;
  let item = null;
  while (at < lines.length) {
    const match = lines[at].match(LIST);
    if (match && match[1].length > indent + 1 && item) {
      const [nested, next] = listBlock(lines, at);
      item.append(nested);
      at = next;
    } else if (match && match[1].length >= indent) {
      item = element("li");
      inline(match[3], item);
      list.append(item);
      at++;
    } else if (item && lines[at].trim() && /^\s+/.test(lines[at]) && !match) {
      item.append(" ");
      inline(lines[at].trim(), item);
      at++;
    } else if (!lines[at].trim() && at + 1 < lines.length && LIST.test(lines[at + 1])) {
      at++;
    } else {
      break;
    }
  }
  return [list, at];
}

function markdown(text) {
  const out = document.createDocumentFragment();
  const lines = text.split("\n");
  for (let at = 0; at < lines.length;) {
    const line = lines[at];
    const fence = line.match(/^\s*(```+|~~~+)\s*([\w+#.-]*)/);
    if (fence) {
      const body = [];
      for (at++; at < lines.length && !lines[at].trim().startsWith(fence[1]); at++) body.push(lines[at]);
      at++;
      out.append(codeBlock(fence[2], body.join("\n")));
      continue;
    }
    const heading = line.match(/^(#{1,6})\s+(.*)$/);
    if (heading) {
      const node = element("h" + Math.min(heading[1].length + 1, 6));
      inline(heading[2], node);
      out.append(node);
      at++;
      continue;
    }
    if (/^\s*([-*_])(\s*\1){2,}\s*$/.test(line)) { out.append(element("hr")); at++; continue; }
    if (LIST.test(line)) {
      const [list, next] = listBlock(lines, at);
      out.append(list);
      at = next;
      continue;
    }
    if (/^\s*>/.test(line)) {
      const quoted = [];
      for (; at < lines.length && /^\s*>/.test(lines[at]); at++) quoted.push(lines[at].replace(/^\s*>\s?/, ""));
      const node = element("blockquote");
      node.append(markdown(quoted.join("\n")));
      out.append(node);
      continue;
    }
    if (line.includes("|") && at + 1 < lines.length && /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/.test(lines[at + 1])) {
      const table = element("table");
      const row = (texts, tag) => {
        const tr = element("tr");
        for (const cell of texts) { const node = element(tag); inline(cell, node); tr.append(node); }
        table.append(tr);
      };
      row(cells(line), "th");
      for (at += 2; at < lines.length && lines[at].includes("|"); at++) row(cells(lines[at]), "td");
      out.append(table);
      continue;
    }
    if (!line.trim()) { at++; continue; }
    const paragraph = element("p");
    const begin = at;
    while (at < lines.length && lines[at].trim() && (at === begin || !/^\s*(```|~~~|#{1,6}\s|>)/.test(lines[at]) && !LIST.test(lines[at]))) {
      if (at > begin) paragraph.append(element("br"));
      inline(lines[at], paragraph);
      at++;
    }
    out.append(paragraph);
  }
  return out;
}

// ---- drawing --------------------------------------------------------------------------------------

function statsText(stats) {
  if (!stats) return "";
  const parts = [];
  if (stats.tokens) parts.push(`${stats.tokens} tokens`);
  if (stats.rate) parts.push(`${stats.rate.toFixed(1)} tok/s`);
  if (stats.ttft) parts.push(`first token after ${stats.ttft < 1 ? Math.round(stats.ttft * 1000) + " ms" : stats.ttft.toFixed(1) + " s"}`);
  if (stats.finish === "length") parts.push("cut at the limit");
  if (stats.stopped) parts.push("stopped");
  return parts.join(" · ");
}

function fillBody(body, message) {
  body.replaceChildren();
  if (message.role === "user") { body.textContent = message.content; return; }
  if (message.reasoning) body.append(element("details", {}, element("summary", {}, "Thinking"), message.reasoning));
  if (message.content) body.append(markdown(message.content));
  if (message.error) body.append(element("p", { class: "error", role: "alert" }, message.error));
}

function messageNode(message, index) {
  const body = element("div", { class: "body" });
  fillBody(body, message);
  const tools = element("div", { class: "tools" });
  const button = (text, action) => {
    const node = element("button", { type: "button", onclick: action }, text);
    tools.append(node);
    return node;
  };
  if (message.role === "user") button("Edit", () => edit(index));
  else button("Regenerate", () => answerFrom(index));
  const copyButton = button("Copy", () => copy(message.content, copyButton));
  tools.append(element("span", { class: "stats" }, statsText(message.stats)));
  const who = message.role === "user" ? "You" : "Model";
  return element("article", { class: "message " + message.role, "aria-label": who }, body, tools);
}

function draw() {
  const log = $("log");
  log.replaceChildren();
  if (!current.messages.length) {
    log.append(element("div", { class: "empty" }, element("h1", {}, "What shall we talk about?"),
      "Everything you write is answered on this server's own CPU."));
  }
  current.messages.forEach((message, index) => log.append(messageNode(message, index)));
  log.scrollTop = log.scrollHeight;
  drawConversations();
}

function drawConversations() {
  const list = $("conversations");
  list.replaceChildren();
  for (const conversation of conversations) {
    const open = element("button", { class: "open", onclick: () => { choose(conversation); } }, conversation.title);
    if (conversation === current) open.setAttribute("aria-current", "true");
    list.append(element("li", { class: conversation === current ? "current" : "" }, open,
      element("button", { class: "remove", "aria-label": "Delete " + conversation.title, onclick: () => remove(conversation) }, "✕")));
  }
}

function choose(conversation) {
  stop();
  current = conversation;
  showSide(false);
  draw();
}

function remove(conversation) {
  if (conversation === current) { stop(); newConversation(); }
  conversations = conversations.filter((other) => other !== conversation);
  save();
  draw();
}

function edit(index) {
  if (running) return;
  const node = $("log").children[index];
  const area = element("textarea", { class: "edit", rows: "4", "aria-label": "Edit the message" });
  area.value = current.messages[index].content;
  const send = () => {
    if (!area.value.trim()) return;
    current.messages[index].content = area.value;
    answerFrom(index + 1);
  };
  area.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); send(); }
    if (event.key === "Escape") { event.stopPropagation(); draw(); }
  });
  node.replaceChildren(area, element("div", { class: "tools" },
    element("button", { type: "button", onclick: send }, "Send"),
    element("button", { type: "button", onclick: draw }, "Cancel")));
  area.focus();
}

// ---- talking --------------------------------------------------------------------------------------

function requestBody() {
  const messages = current.messages.filter((message) => message.content || message.role === "user")
    .map(({ role, content }) => ({ role, content }));
  const system = $("system").value.trim();
  if (system) messages.unshift({ role: "system", content: system });
  const body = { model: $("model").value, messages, stream: true, stream_options: { include_usage: true } };
  for (const name of SETTINGS) if ($(name).value !== "") body[name] = Number($(name).value);
  return body;
}

async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    for (let end; (end = text.indexOf("\n\n")) >= 0;) {
      const event = text.slice(0, end);
      text = text.slice(end + 2);
      if (event.startsWith("data: ")) yield event.slice(6);
    }
  }
}

async function errorOf(response) {
  try { return (await response.json()).error.message; } catch { return `the server answered ${response.status}`; }
}

// Drops what follows the messages before `index` and lets the model answer them.
async function answerFrom(index) {
  if (running) return;
  current.messages.length = index;
  const conversation = current;
  const message = { role: "assistant", content: "", reasoning: "" };
  conversation.messages.push(message);
  if (!conversations.includes(conversation)) {
    const first = conversation.messages[0].content.trim().split("\n")[0];
    conversation.title = first.length > 48 ? first.slice(0, 47) + "…" : first;
    conversations.unshift(conversation);
  }
  save();
  draw();

  const run = { controller: new AbortController(), begin: performance.now(), first: 0, last: 0, pieces: 0, tokens: 0 };
  running = run;
  setRunning(true);
  const node = $("log").lastElementChild;
  const body = node.querySelector(".body");
  const stats = node.querySelector(".stats");
  let drawn = false;
  const redraw = () => {
    if (drawn) return;
    drawn = true;
    requestAnimationFrame(() => {
      drawn = false;
      if (running !== run) return;
      const log = $("log");
      const follow = log.scrollHeight - log.scrollTop - log.clientHeight < 80;
      fillBody(body, message);
      (body.lastElementChild ?? body).classList.add("caret");
      stats.textContent = statsText(statsOf(run));
      if (follow) log.scrollTop = log.scrollHeight;
    });
  };
  redraw();
  try {
    const response = await fetch("v1/chat/completions", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(requestBody()),
      signal: run.controller.signal,
    });
    if (!response.ok) throw new Error(await errorOf(response));
    for await (const data of events(response)) {
      if (data === "[DONE]") break;
      const event = JSON.parse(data);
      if (event.error) throw new Error(event.error.message);
      if (event.usage) run.tokens = event.usage.completion_tokens;
      const choice = event.choices?.[0];
      if (!choice) continue;
      const { content, reasoning_content: reasoning } = choice.delta;
      if (content || reasoning) {
        run.first ||= performance.now();
        run.last = performance.now();
        run.pieces++;
        message.content += content ?? "";
        message.reasoning += reasoning ?? "";
        redraw();
      }
      if (choice.finish_reason) run.finish = choice.finish_reason;
    }
  } catch (error) {
    if (run.controller.signal.aborted) run.stopped = true;
    else message.error = String(error.message || error);
  }
  message.stats = statsOf(run);
  if (running === run) { running = null; setRunning(false); }
  save();
  if (current === conversation) draw();
  $("announce").textContent = message.error ? "" : "The answer is complete: " + message.content;
  if (matchMedia("(min-width: 761px)").matches) $("input").focus();
}

function statsOf(run) {
  const tokens = run.tokens || run.pieces;
  // Events that came together, through a proxy or a busy browser, say nothing about the time between them.
  const apart = (run.last - run.first) / 1000;
  const rate = apart > 0.05 ? (tokens - 1) / apart : tokens / ((run.last - run.begin) / 1000);
  return {
    tokens,
    ttft: run.first ? (run.first - run.begin) / 1000 : 0,
    rate: tokens > 1 && Number.isFinite(rate) ? rate : 0,
    finish: run.finish,
    stopped: run.stopped,
  };
}

function setRunning(on) {
  $("stop").hidden = !on;
  $("send").hidden = on;
  updateSend();
}

function stop() { running?.controller.abort(); running = null; setRunning(false); }

function updateSend() { $("send").disabled = !$("input").value.trim() || !models.length; }

function grow() {
  const input = $("input");
  input.style.height = "auto";
  input.style.height = input.scrollHeight + "px";
}

function submit() {
  const input = $("input");
  const text = input.value.trim();
  if (!text || running || !models.length) return;
  input.value = "";
  grow();
  updateSend();
  current.messages.push({ role: "user", content: text });
  answerFrom(current.messages.length);
}

// ---- server, settings, looks ----------------------------------------------------------------------

async function loadModels() {
  try {
    const response = await fetch("v1/models");
    if (!response.ok) throw new Error(await errorOf(response));
    const list = (await response.json()).data;
    models = list.filter((model) => model.ready);
    const select = $("model");
    const chosen = select.value || store.read("model", "");
    select.replaceChildren(...models.map((model) => element("option", { value: model.id }, model.id)));
    if (models.some((model) => model.id === chosen)) select.value = chosen;
    const loading = list.length - models.length;
    status(loading ? `Loading ${loading === 1 ? "a model" : loading + " models"} …` : "");
    if (loading) setTimeout(loadModels, 1000);
  } catch (error) {
    status(String(error.message || error), true);
    setTimeout(loadModels, 3000);
  }
  showDefaults();
  updateSend();
}

function showDefaults() {
  const defaults = models.find((model) => model.id === $("model").value)?.defaults ?? {};
  for (const name of SETTINGS) $(name).placeholder = defaults[name] ?? "";
}

function loadSettings() {
  const settings = store.read("settings", {});
  for (const name of [...SETTINGS, "system"]) $(name).value = settings[name] ?? "";
}

function saveSettings() {
  store.write("settings", Object.fromEntries([...SETTINGS, "system"].map((name) => [name, $(name).value])));
}

const THEMES = ["auto", "light", "dark"];
const darkQuery = matchMedia("(prefers-color-scheme: dark)");
function showTheme() {
  const theme = store.read("theme", "auto");
  document.documentElement.classList.toggle("dark", theme === "dark" || (theme === "auto" && darkQuery.matches));
  $("theme").textContent = { auto: "Theme: system", light: "Theme: light", dark: "Theme: dark" }[theme];
}

function showSide(open) {
  $("side").classList.toggle("open", open);
  $("veil").hidden = !open;
  if (open) $("close-side").focus();
}

function toggleSettings() {
  const open = $("settings").hidden;
  $("settings").hidden = !open;
  $("open-settings").setAttribute("aria-expanded", String(open));
  if (open) $("system").focus();
}

$("form").addEventListener("submit", (event) => { event.preventDefault(); submit(); });
$("input").addEventListener("input", () => { grow(); updateSend(); });
$("input").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); submit(); }
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  if (running) stop();
  else if ($("side").classList.contains("open")) showSide(false);
  else if (!$("settings").hidden) toggleSettings();
});
$("stop").addEventListener("click", stop);
$("new").addEventListener("click", () => { stop(); newConversation(); showSide(false); draw(); $("input").focus(); });
$("clear").addEventListener("click", () => {
  if (!conversations.length || !confirm("Delete all conversations from this browser?")) return;
  stop(); conversations = []; newConversation(); save(); draw();
});
$("theme").addEventListener("click", () => {
  store.write("theme", THEMES[(THEMES.indexOf(store.read("theme", "auto")) + 1) % THEMES.length]);
  showTheme();
});
darkQuery.addEventListener("change", showTheme);
$("open-side").addEventListener("click", () => showSide(true));
$("close-side").addEventListener("click", () => showSide(false));
$("veil").addEventListener("click", () => showSide(false));
$("open-settings").addEventListener("click", toggleSettings);
$("reset").addEventListener("click", () => { for (const name of SETTINGS) $(name).value = ""; saveSettings(); });
for (const name of [...SETTINGS, "system"]) $(name).addEventListener("change", saveSettings);
$("model").addEventListener("change", () => { store.write("model", $("model").value); showDefaults(); });

showTheme();
loadSettings();
newConversation();
draw();
loadModels();
