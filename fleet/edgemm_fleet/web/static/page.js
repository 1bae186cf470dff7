// Reads the fleet's API again and again and shows what it says. Text only ever becomes text nodes, and what would hide in
// it or turn a line around is shown by its number.
"use strict";

const REFRESH_MS = 2000;
const DEVICES_SHOWN = 200;
const ROLLOUTS_SHOWN = 10;
// As the command line does it: of what a device said, and how far apart two right clocks may be.
const DETAIL_SHOWN = 240;
const SLACK_S = 600;
const KINDS = {
  good: ["committed", "finished", "reverted", "serving"],
  bad: ["failed", "halted", "rolled_back", "rejected", "timed_out", "refused", "withdrawn"],
  wait: ["running", "rolling_back", "accepted", "downloading", "verified", "staged", "activating", "probation",
    "pending", "reached", "reverting", "paused"],
};
// The parts of a group's bar, in this order, and the states of members that each takes together.
const PARTS = [
  ["good", ["committed"]], ["bad", ["failed"]], ["late", ["timed_out", "refused"]],
  ["wait", ["activating", "reached", "pending", "reverting"]], ["idle", ["prepared"]],
];
const WAITS_FOR = {
  pause: "Paused", person: "Waits for a person", window: "Waits for a window", samples: "Waits for samples",
  rate: "Waits for its rate",
};
const UNSEEN = new RegExp("[\\p{Cc}\\p{Cf}\\p{Cs}\\p{Co}\\p{Cn}\\p{Zl}\\p{Zp}\\u034f\\u115f\\u1160\\u17b4\\u17b5\\u180b-"
  + "\\u180d\\u180f\\u3164\\ufe00-\\ufe0f\\uffa0\\u{e0100}-\\u{e01ef}]", "gu");
const byId = (id) => document.getElementById(id);
let generation = 0;

class Refused extends Error {}

function plain(text) {
  return text.replace(UNSEEN, (found) => {
    const number = found.codePointAt(0).toString(16);
    if (number.length <= 2) return `\\x${number.padStart(2, "0")}`;
    return number.length <= 4 ? `\\u${number.padStart(4, "0")}` : `\\U${number.padStart(8, "0")}`;
  });
}

function element(tag, options = {}, ...children) {
  const made = document.createElement(tag);
  const { data = {}, ...properties } = options;
  for (const [name, value] of Object.entries(properties)) made[name] = typeof value === "string" ? plain(value) : value;
  Object.assign(made.dataset, data);
  made.append(...children.filter((child) => child !== null).map((one) => (typeof one === "string" ? plain(one) : one)));
  return made;
}

function pill(state) {
  const kind = Object.keys(KINDS).find((name) => KINDS[name].includes(state)) || "";
  return element("span", { className: `pill ${kind}` }, state.replaceAll("_", " "));
}

function span(seconds) {
  const units = [[86400, "d"], [3600, "h"], [60, "min"]];
  const [size, name] = units.find(([unit]) => seconds >= unit) || [1, "s"];
  return `${Math.floor(seconds / size)} ${name}`;
}

function age(seconds, now) {
  if (seconds === null) return "never";
  if (seconds > now + SLACK_S) return `by a clock ${span(seconds - now)} ahead`;
  return `${span(Math.max(0, now - seconds))} ago`;
}

// Makes what is shown like what was made anew, and leaves alone what is alike: a place that was scrolled to, a selection
// and what was unfolded stay. Rows are told apart by their key, whatever came between them.
function adapt(shown, made) {
  if (shown.nodeName !== made.nodeName) return shown.replaceWith(made);
  if (shown.nodeType === Node.TEXT_NODE) {
    if (shown.data !== made.data) shown.data = made.data;
    return undefined;
  }
  const names = new Set([...shown.getAttributeNames(), ...made.getAttributeNames()]);
  for (const name of ["open", "style"]) names.delete(name);
  for (const name of names) {
    const value = made.getAttribute(name);
    if (value === null) shown.removeAttribute(name);
    else if (shown.getAttribute(name) !== value) shown.setAttribute(name, value);
  }
  if (shown.style.cssText !== made.style.cssText) shown.style.cssText = made.style.cssText;
  return adaptChildren(shown, [...made.childNodes]);
}

function adaptChildren(shown, made) {
  const keyOf = (node) => (node.dataset ? node.dataset.key : undefined);
  const wanted = new Set(made.map(keyOf));
  for (const node of [...shown.childNodes]) if (!wanted.has(keyOf(node))) node.remove();
  const keyed = new Map([...shown.childNodes].map((node) => [keyOf(node), node]));
  let place = shown.firstChild;
  for (const node of made) {
    const same = keyOf(node) === undefined ? place : keyed.get(keyOf(node));
    if (!same || keyOf(same) !== keyOf(node)) {
      shown.insertBefore(node, place);
      continue;
    }
    if (same !== place) shown.insertBefore(same, place);
    const following = same.nextSibling;
    adapt(same, node);
    place = following;
  }
  while (place) {
    const following = place.nextSibling;
    place.remove();
    place = following;
  }
}

function put(id, ...made) {
  adaptChildren(byId(id), made);
}

function bytes(count) {
  const step = [[1e9, "GB"], [1e6, "MB"], [1e3, "kB"]].find(([unit]) => count >= unit);
  return step ? `${(count / step[0]).toFixed(1)} ${step[1]}` : `${count} B`;
}

function table(headings, rows, empty) {
  if (rows.length === 0) return element("div", { className: "card" }, element("p", { className: "empty" }, empty));
  const head = element("tr", {}, ...headings.map((name) => element("th", { scope: "col" }, name)));
  const body = rows.map((cells) => element("tr", { data: { key: cells[0].textContent } }, ...cells.map((cell, index) => {
    const td = element("td", { data: { label: headings[index] } }, ...[cell].flat());
    if (Array.isArray(cell)) td.className = "wide";
    return td;
  })));
  return element("div", { className: "scroll" },
    element("table", {}, element("thead", {}, head), element("tbody", {}, ...body)));
}

function ahead(seconds, now) {
  return seconds > now ? `in ${age(2 * now - seconds, now).replace(" ago", "")}` : age(seconds, now);
}

async function read(path, body = null) {
  const headers = { Authorization: `Bearer ${sessionStorage.getItem("token")}` };
  const sent = body === null ? {} : { method: "POST", body: JSON.stringify(body) };
  const response = await fetch(path, { headers, cache: "no-store", ...sent });
  const answer = await response.json();
  if (response.status === 401 || response.status === 403) throw new Refused(answer.error.message);
  if (!response.ok) throw new Error(answer.error.message);
  return answer;
}

function tile(value, name) {
  return element("div", { className: "tile" }, element("b", {}, String(value)), element("span", {}, name));
}

function showSummary(overview) {
  const devices = overview.devices_online + overview.devices_offline;
  const running = (overview.rollouts.running || 0) + (overview.rollouts.rolling_back || 0);
  put("summary",
    tile(`${overview.devices_online} / ${devices}`, "devices online"),
    tile(overview.models, overview.models === 1 ? "model" : "models"),
    tile(overview.versions, overview.versions === 1 ? "version" : "versions"),
    tile(running, running === 1 ? "rollout running" : "rollouts running"),
  );
}

function showHealth(overview) {
  const line = plain(`manager ${overview.health}`);
  if (byId("health").textContent !== line) byId("health").textContent = line;
  byId("health").className = overview.healthy ? "" : "bad";
}

function groupSize(group) {
  return group.count !== null ? `${group.count} device${group.count === 1 ? "" : "s"}` : `${group.percent} %`;
}

function showGroup(group, counts, progress, index) {
  const members = Object.values(counts).reduce((sum, number) => sum + number, 0);
  const of = (state) => (PARTS.find(([, states]) => states.includes(state)) || PARTS.at(-1))[0];
  const order = (state) => PARTS.findIndex(([kind]) => kind === of(state));
  const states = Object.entries(counts).filter(([, number]) => number).sort(([one], [other]) => order(one) - order(other));
  const nobody = progress.matching ? "no further device" : "no device matches";
  const spelled = states.map(([state, number]) => `${number} ${state.replaceAll("_", " ")}`);
  const prepared = progress.size === null ? "preparing" : `preparing: ${members} of ${progress.size} devices chosen`;
  const before = progress.preparing_at === null ? "not started" : prepared;
  const text = progress.started_at === null ? before : spelled.join(", ") || nobody;
  const bar = element("div", { className: "bar", role: "img", ariaLabel: text });
  for (const [kind] of PARTS) {
    const number = states.reduce((sum, [state, many]) => sum + (of(state) === kind ? many : 0), 0);
    if (number) {
      const part = element("div", { className: `part ${kind}`, title: `${number} of ${members}` });
      part.style.flexGrow = number;
      bar.append(part);
    }
  }
  const legend = states.map(([state], place) => element("span", { className: "state" },
    element("i", { className: `dot ${of(state)}` }), spelled[place]));
  return element("div", { className: "group" },
    element("div", {}, `Group ${index + 1}: ${groupSize(group)}`), bar,
    element("div", { className: "quiet legend" }, ...(legend.length && progress.started_at !== null ? legend : [text])));
}

function act(rollout, name, text, body) {
  const key = `${rollout.id} ${name} ${JSON.stringify(body)}`; // a button that would do another thing is another one
  const button = element("button", { type: "button", data: { act: `${rollout.id} ${name}`, key } }, text);
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      await read(`/api/v1/rollouts/${rollout.id}/${name}`, body);
    } catch (error) {
      window.alert(plain(error.message));
    }
    generation += 1;
    refresh(generation);
  });
  return button;
}

function actions(rollout, operates) {
  const acts = [];
  if (operates && rollout.state === "running") {
    // By the group's number, so that who presses it twice, or two people at once, start one group and not two.
    const begun = rollout.groups.filter((group) => group.started_at !== null).length;
    const ready = begun && (rollout.waiting !== null || rollout.groups[begun - 1].met_at !== null);
    if (ready && begun < rollout.groups.length) acts.push(act(rollout, "next", `start group ${begun + 1} now`, { after: begun - 1 }));
    acts.push(act(rollout, "pause", "pause", {}));
  }
  if (operates && rollout.state === "paused") acts.push(act(rollout, "resume", "resume", {}));
  return acts.length ? element("div", { className: "acts" }, ...acts) : null;
}

function showWaiting(waiting, now) {
  if (waiting === null) return null;
  return element("p", { className: "waiting" },
    `${WAITS_FOR[waiting.kind] || `Waits for ${waiting.kind}`} since ${age(waiting.since, now)}: ${waiting.reason}. `
    + `It halts ${ahead(waiting.until, now)} (${waiting.then}).`);
}

function showRollouts(details, now, operates) {
  const cards = details.map(({ rollout, groups }) => element("article", { className: "card", data: { key: rollout.id } },
    element("div", { className: "head" },
      element("b", {}, `${rollout.plan.model} ${rollout.plan.version}`), pill(rollout.state),
      element("span", { className: "quiet" },
        `${rollout.id} · by ${rollout.created_by.replace("person:", "")} · ${age(rollout.changed_at, now)}`)),
    rollout.reason ? element("p", { className: "reason" }, rollout.reason) : null,
    showWaiting(rollout.waiting, now),
    rollout.trouble ? element("p", { className: "reason" }, `It cannot go on and tries again: ${rollout.trouble}`) : null,
    element("div", { className: "groups" },
      ...rollout.plan.groups.map((group, index) => showGroup(group, groups[index], rollout.groups[index], index))),
    actions(rollout, operates)));
  const none = element("div", { className: "card" },
    element("p", { className: "empty" }, "None yet: edgemm fleet rollout create MODEL VERSION"));
  put("rollouts", ...(cards.length ? cards : [none]));
}

function showModel(model, withdrawn) {
  const active = `${model.name} ${model.active_version || "–"}${model.variant ? ` · ${model.variant}` : ""} `;
  const gone = withdrawn.includes(model.name) ? pill("withdrawn") : null;
  const shadow = model.shadow ? `shadow ${model.shadow.version} ${model.shadow.phase}` : null;
  const quiet = (text) => (text ? element("span", { className: "quiet" }, ` ${text}`) : null);
  if (model.active_digest === model.digest) {
    return element("div", { className: "model" }, active, pill(model.state), gone, quiet(shadow));
  }
  // What an update does, or failed by, stands below what serves meanwhile.
  const serving = model.active_digest ? element("div", {}, active, pill("serving"), gone) : null;
  return element("div", { className: "model" }, serving,
    element("div", {}, `${model.name} ${model.version} `, pill(model.state), quiet(model.reason)), quiet(shadow));
}

function showSaid(text) {
  // A device may say a thousand characters: the beginning is shown, and the whole where it is unfolded.
  const letters = [...text.split(/\s+/u).join(" ")];
  if (letters.length <= DETAIL_SHOWN) return element("span", { className: "quiet" }, ` ${text}`);
  return element("details", { className: "quiet" },
    element("summary", {}, `${letters.slice(0, DETAIL_SHOWN - 1).join("")}…`), element("div", {}, text));
}

function showFailed(failed) {
  return element("div", { className: "model failed" },
    `${failed.model} ${failed.version} `, pill(failed.state),
    showSaid([failed.reason, failed.detail].filter(Boolean).join(": ")));
}

function showUpdates(models, failed, withdrawn) {
  // What failed and was taken back stands beside what serves; what a device reports itself is not told twice.
  const told = models.filter((one) => one.active_digest !== one.digest).map((one) => `${one.name} ${one.version}`);
  const ended = failed.filter((one) => !told.includes(`${one.model} ${one.version}`));
  return [...models.map((model) => showModel(model, withdrawn)), ...ended.map(showFailed)];
}

function showRefusal(refusal) {
  if (!refusal) return "";
  return `, ${refusal.cause === "reports_older" ? "not heard" : "refuses"}: ${refusal.cause}`;
}

function showDevices(items, total, now) {
  const rows = items.map(({ device, models, failed, refusal, withdrawn }) => [
    element("b", {}, device.id),
    element("span", {
      className: refusal ? "pill bad" : device.presence.online ? "pill good" : "pill",
      title: refusal ? refusal.detail : "",
    },
      (device.presence.online ? "online" : "offline") + showRefusal(refusal)),
    age(device.presence.last_seen_at, now),
    models.length + failed.length ? showUpdates(models, failed, withdrawn) : ["–"],
    [Object.entries(device.labels).map(([name, value]) => `${name}=${value}`).join("  ") || "–"],
  ]);
  const shown = table(["device", "connection", "heard of", "models", "labels"], rows,
    "None yet: edgemm fleet token create prints the line to run on a device");
  const note = total > items.length ? element("p", { className: "quiet" },
    `The first ${items.length} of ${total}; all of them: edgemm fleet devices`) : null;
  put("devices", ...[shown, note].filter((part) => part !== null));
}

function showModels(models, now) {
  const rows = models.flatMap(({ model, versions }) => versions
    .map((version) => [
      element("span", {}, element("b", {}, `${version.model} ${version.version}`), " ",
        version.withdrawn_at === null ? null : pill("withdrawn")), bytes(version.size_bytes),
      element("code", { title: version.digest }, version.digest.slice(0, 12)),
      version.published_by.replace("person:", ""), age(version.published_at, now),
      model.minimum_version || "–",
    ]));
  put("models", table(["version", "size", "sha256", "published by", "when", "minimum"], rows,
    "None yet: edgemm fleet publish BUNDLE"));
}

async function show() {
  const [me, overview, devices, models, rollouts] = await Promise.all([
    read("/api/v1/me"), read("/api/v1/overview"), read(`/api/v1/devices?limit=${DEVICES_SHOWN}`), read("/api/v1/models?limit=100"),
    read(`/api/v1/rollouts?limit=${ROLLOUTS_SHOWN}`),
  ]);
  const modelDetails = await Promise.all(models.items.map((model) => read(`/api/v1/models/${model.name}`)));
  const rolloutDetails = await Promise.all(rollouts.items.map((rollout) => read(`/api/v1/rollouts/${rollout.id}`)));
  const now = overview.now; // the server's: that of this machine may be another
  showHealth(overview);
  showSummary(overview);
  showRollouts(rolloutDetails, now, ["admin", "operator"].includes(me.role));
  showDevices(devices.items, overview.devices_online + overview.devices_offline, now);
  showModels(modelDetails, now);
  return `${me.person} (${me.role}) · ${new Date(now * 1000).toLocaleTimeString()}`;
}

function say(text, bad = false) {
  byId("status").textContent = plain(text);
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
