// Reads the fleet's API again and again and shows what it says. Text only ever becomes text nodes.
"use strict";

const REFRESH_MS = 2000;
const DEVICES_SHOWN = 200;
const ROLLOUTS_SHOWN = 10;
const KINDS = {
  good: ["committed", "finished", "reverted"],
  bad: ["failed", "halted", "rolled_back", "rejected", "timed_out", "refused"],
  wait: ["running", "rolling_back", "accepted", "downloading", "verified", "staged", "activating", "probation",
    "pending", "reached", "reverting", "paused"],
};
const BAD_MEMBERS = ["failed", "timed_out", "refused"];
const byId = (id) => document.getElementById(id);
let generation = 0;

class Refused extends Error {}

function element(tag, options = {}, ...children) {
  const made = document.createElement(tag);
  const { data = {}, ...properties } = options;
  Object.assign(made, properties);
  Object.assign(made.dataset, data);
  made.append(...children.filter((child) => child !== null));
  return made;
}

function pill(state) {
  const kind = Object.keys(KINDS).find((name) => KINDS[name].includes(state)) || "";
  return element("span", { className: `pill ${kind}` }, state.replaceAll("_", " "));
}

function age(seconds, now) {
  if (seconds === null) return "never";
  const passed = Math.max(0, now - seconds);
  const units = [[86400, "d"], [3600, "h"], [60, "min"]];
  const [size, name] = units.find(([unit]) => passed >= unit) || [1, "s"];
  return `${Math.floor(passed / size)} ${name} ago`;
}

function bytes(count) {
  const step = [[1e9, "GB"], [1e6, "MB"], [1e3, "kB"]].find(([unit]) => count >= unit);
  return step ? `${(count / step[0]).toFixed(1)} ${step[1]}` : `${count} B`;
}

function table(headings, rows, empty) {
  if (rows.length === 0) return element("div", { className: "card" }, element("p", { className: "empty" }, empty));
  const head = element("tr", {}, ...headings.map((name) => element("th", { scope: "col" }, name)));
  const body = rows.map((cells) => element("tr", {}, ...cells.map((cell, index) => {
    const td = element("td", { data: { label: headings[index] } }, ...[cell].flat());
    if (Array.isArray(cell)) td.className = "wide";
    return td;
  })));
  return element("div", { className: "scroll" },
    element("table", {}, element("thead", {}, head), element("tbody", {}, ...body)));
}

async function read(path) {
  const headers = { Authorization: `Bearer ${sessionStorage.getItem("token")}` };
  const response = await fetch(path, { headers, cache: "no-store" });
  const answer = await response.json();
  if (response.status === 401 || response.status === 403) throw new Refused(answer.error.message);
  if (!response.ok) throw new Error(answer.error.message);
  return answer;
}

function tile(value, name) {
  return element("div", { className: "tile" }, element("b", {}, String(value)), element("span", {}, name));
}

function showSummary(devices, more, models, rollouts) {
  const online = devices.filter((item) => item.device.presence.online).length;
  const running = rollouts.filter((item) => ["running", "rolling_back"].includes(item.rollout.state)).length;
  byId("summary").replaceChildren(
    tile(`${online} / ${devices.length}${more ? "+" : ""}`, "devices online"),
    tile(models.length, models.length === 1 ? "model" : "models"),
    tile(running, running === 1 ? "rollout running" : "rollouts running"),
  );
}

function groupSize(group) {
  return group.count !== null ? `${group.count} device${group.count === 1 ? "" : "s"}` : `${group.percent} %`;
}

function showGroup(group, counts, progress, index) {
  const members = Object.values(counts).reduce((sum, number) => sum + number, 0);
  const committed = counts.committed || 0;
  const bad = BAD_MEMBERS.some((state) => counts[state]);
  const states = Object.entries(counts).map(([state, number]) => `${number} ${state.replaceAll("_", " ")}`).join(", ");
  const text = progress.started_at === null ? "not started" : states || "no device matches";
  return element("div", { className: bad ? "group bad" : "group" },
    element("div", {}, `Group ${index + 1}: ${groupSize(group)}`),
    element("progress", { max: Math.max(1, members), value: bad ? members : committed, ariaLabel: text }),
    element("span", { className: "quiet" }, text));
}

function showRollouts(details, now) {
  const cards = details.map(({ rollout, groups }) => element("article", { className: "card" },
    element("div", { className: "head" },
      element("b", {}, `${rollout.plan.model} ${rollout.plan.version}`), pill(rollout.state),
      element("span", { className: "quiet" },
        `${rollout.id} · by ${rollout.created_by.replace("person:", "")} · ${age(rollout.changed_at, now)}`)),
    rollout.reason ? element("p", { className: "reason" }, rollout.reason) : null,
    rollout.trouble ? element("p", { className: "reason" }, `It cannot go on and tries again: ${rollout.trouble}`) : null,
    element("div", { className: "groups" },
      ...rollout.plan.groups.map((group, index) => showGroup(group, groups[index], rollout.groups[index], index)))));
  const none = element("div", { className: "card" },
    element("p", { className: "empty" }, "None yet: edgemm fleet rollout create MODEL VERSION"));
  byId("rollouts").replaceChildren(...(cards.length ? cards : [none]));
}

function showModel(model) {
  const active = model.active_version ? `${model.name} ${model.active_version}` : model.name;
  const variant = model.variant ? ` · ${model.variant}` : "";
  const moving = model.active_digest !== model.digest ? ` (${model.version}${model.reason ? `: ${model.reason}` : ""})` : "";
  const shadow = model.shadow ? ` · shadow ${model.shadow.version} ${model.shadow.phase}` : "";
  return element("div", { className: "model" }, `${active}${variant} `, pill(model.state), moving + shadow);
}

function showDevices(items, more, now) {
  const rows = items.map(({ device, models, refusal }) => [
    element("b", {}, device.id),
    element("span", { className: device.presence.online ? "pill good" : "pill" },
      (device.presence.online ? "online" : "offline") + (refusal ? `, refuses: ${refusal.cause}` : "")),
    age(device.presence.last_seen_at, now),
    models.length ? models.map(showModel) : ["–"],
    [Object.entries(device.labels).map(([name, value]) => `${name}=${value}`).join("  ") || "–"],
  ]);
  const shown = table(["device", "connection", "heard of", "models", "labels"], rows,
    "None yet: edgemm fleet token create prints the line to run on a device");
  const note = more ? element("p", { className: "quiet" }, `The first ${DEVICES_SHOWN}; all of them: edgemm fleet devices`) : null;
  byId("devices").replaceChildren(...[shown, note].filter((part) => part !== null));
}

function showModels(models, now) {
  const rows = models.flatMap(({ model, versions }) => [...versions]
    .sort((one, other) => other.published_at - one.published_at)
    .map((version) => [
      element("b", {}, `${version.model} ${version.version}`), bytes(version.size_bytes),
      element("code", { title: version.digest }, version.digest.slice(0, 12)),
      version.published_by.replace("person:", ""), age(version.published_at, now),
      model.minimum_version || "–",
    ]));
  byId("models").replaceChildren(table(["version", "size", "sha256", "published by", "when", "minimum"], rows,
    "None yet: edgemm fleet publish BUNDLE"));
}

async function show() {
  const [me, devices, models, rollouts] = await Promise.all([
    read("/api/v1/me"), read(`/api/v1/devices?limit=${DEVICES_SHOWN}`), read("/api/v1/models?limit=100"),
    read(`/api/v1/rollouts?limit=${ROLLOUTS_SHOWN}`),
  ]);
  const modelDetails = await Promise.all(models.items.map((model) => read(`/api/v1/models/${model.name}`)));
  const rolloutDetails = await Promise.all(rollouts.items.map((rollout) => read(`/api/v1/rollouts/${rollout.id}`)));
  const now = Date.now() / 1000;
  showSummary(devices.items, devices.next !== null, models.items, rolloutDetails);
  showRollouts(rolloutDetails, now);
  showDevices(devices.items, devices.next !== null, now);
  showModels(modelDetails, now);
  return `${me.person} (${me.role}) · ${new Date().toLocaleTimeString()}`;
}

function say(text, bad = false) {
  byId("status").textContent = text;
  byId("status").className = bad ? "bad" : "";
}

function ask(reason) {
  generation += 1;
  sessionStorage.removeItem("token");
  byId("fleet").hidden = true;
  byId("logout").hidden = true;
  byId("login").hidden = false;
  say(reason, reason !== "not logged in");
}

async function refresh(mine) {
  if (mine !== generation) return;
  try {
    if (!document.hidden) {
      const status = await show();
      if (mine !== generation) return;
      say(status);
      byId("fleet").hidden = false;
    }
  } catch (error) {
    if (mine !== generation) return;
    if (error instanceof Refused) return ask(error.message);
    say(`no answer from the server (${error.message}); trying again`, true);
  }
  setTimeout(() => refresh(mine), REFRESH_MS);
}

function enter(token) {
  sessionStorage.setItem("token", token.trim());
  byId("login").hidden = true;
  byId("logout").hidden = false;
  say("reading …");
  generation += 1;
  refresh(generation);
}

function start() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) history.replaceState(null, "", location.pathname);
  byId("login").addEventListener("submit", (event) => {
    event.preventDefault();
    enter(byId("token").value);
    byId("token").value = "";
  });
  byId("logout").addEventListener("click", () => ask("not logged in"));
  const token = given || sessionStorage.getItem("token");
  if (token) enter(token);
  else ask("not logged in");
}

start();
