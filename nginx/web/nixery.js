// The start page: composes an image, shows its plan and its build, and lists recent builds.
import { showLists } from "./lists.js";
import { ask, bytes, commands, element, facts, imagePage, layerBars, layerName, legend, makeCopier, pathName, pause, plural, reference, refusal, treemap } from "./parts.js";

const find = (id) => document.getElementById(id);
const form = find("compose");
const input = find("packages");
const matches = find("matches");
const packages = [];  // chosen, in that order

// ---- The image in the form ----

const component = /^[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*$/;

function composed() {
  const data = new FormData(form);
  const shell = data.get("shell") === "1";
  const encoding = data.get("encoding");
  // As the first part, zstd and gzip would choose the encoding.
  const ordered = [...packages].sort((a, b) => Number(/^(?:zstd|gzip)$/.test(a)) - Number(/^(?:zstd|gzip)$/.test(b)));
  const parts = [encoding, data.get("platform"), shell ? "shell" : "", ...ordered].filter(Boolean);
  return { name: parts.join("/"), tag: data.get("tag").trim() || "latest", program: shell ? "bash" : "", empty: packages.length === 0 && !shell };
}

function show() {
  const image = composed();
  find("result").hidden = image.empty;
  const tab = document.querySelector("[role=tab][aria-selected=true]");
  find("command").textContent = commands(image.name, image.tag, image.program)[tab.dataset.client];
  if (image.name !== shownFor) forget();
  const query = new URLSearchParams(new FormData(form));
  query.set("packages", packages.join(" "));
  for (const [name, value] of [...query]) if (!value) query.delete(name);
  history.replaceState(null, "", packages.length ? `?${query}` : location.pathname);
}

// Hides the results of the previous image.
let shownFor = "";
function forget() {
  shownFor = composed().name;
  find("plan").hidden = true;
  find("problem").hidden = true;
  planning?.abort();
}

function complain(message) {
  find("problem").textContent = message;
  find("problem").hidden = !message;
}

function announce(text) {
  find("announce").textContent = text;
}

// ---- Choosing packages: a combobox (WAI-ARIA Authoring Practices, "Editable Combobox With List Autocomplete") ----

function choose(text) {
  for (const name of text.toLowerCase().split(/[\s,/]+/).filter(Boolean)) {
    if (!component.test(name)) {
      complain(`“${name}” is not a valid package name: use letters and digits, joined by single dots, underscores or dashes.`);
      continue;
    }
    if (!packages.includes(name)) packages.push(name);
    announce(`${name} added`);
  }
  input.value = "";
  closeList();
  showChosen();
}

function remove(name) {
  packages.splice(packages.indexOf(name), 1);
  announce(`${name} removed`);
  showChosen();
  input.focus();
}

function showChosen() {
  find("chosen").replaceChildren(...packages.map((name) => element("li", {}, name,
    element("button", { type: "button", "aria-label": `Remove ${name}`, onclick: () => remove(name) }, "×"))));
  input.placeholder = packages.length ? "" : "git curl jq";
  show();
}

let searching = null;
let timer = 0;

function search() {
  clearTimeout(timer);
  searching?.abort();
  const text = input.value.trim().toLowerCase();
  if (!text) return closeList();
  timer = setTimeout(async () => {
    searching = new AbortController();
    try {
      const found = await ask(`/api/search?q=${encodeURIComponent(text)}`, {
        signal: searching.signal, whenLate: () => showNote("Loading package names…"),
      });
      showMatches(text, found);
    } catch (error) {
      if (error.name !== "AbortError") showNote(error.message);
    }
  }, 120);
}

function openList() {
  matches.hidden = false;
  input.setAttribute("aria-expanded", "true");
}

function closeList() {
  clearTimeout(timer);
  searching?.abort();
  matches.hidden = true;
  matches.replaceChildren();
  input.setAttribute("aria-expanded", "false");
  input.removeAttribute("aria-activedescendant");
}

function showNote(text) {
  matches.replaceChildren(element("li", { class: "none", role: "option", "aria-disabled": "true", "aria-selected": "false" }, text));
  openList();
  announce(text);
}

function marked(name, text) {
  const at = name.indexOf(text);
  return at < 0 ? [name] : [name.slice(0, at), element("b", {}, text), name.slice(at + text.length)];
}

function showMatches(text, found) {
  if (found.packages.length === 0) return showNote(`No package matches “${text}”.`);
  matches.replaceChildren(...found.packages.map((each, i) => element("li",
    { id: `match-${i}`, role: "option", "aria-selected": "false", "data-name": each.name },
    element("span", {}, ...marked(each.name, text)), element("span", { class: "version" }, each.version), element("span", { class: "about" }, each.description))));
  openList();
  announce(`${plural(found.packages.length, "package")}${found.more ? ", and more" : ""}`);
}

function active() {
  return matches.querySelector("[aria-selected=true]");
}

function activate(option) {
  active()?.setAttribute("aria-selected", "false");
  option.setAttribute("aria-selected", "true");
  option.scrollIntoView({ block: "nearest" });
  input.setAttribute("aria-activedescendant", option.id);
}

function onKey(event) {
  const options = [...matches.querySelectorAll("[data-name]")];
  const at = options.indexOf(active());
  const move = { ArrowDown: at + 1, ArrowUp: at < 0 ? options.length - 1 : at - 1 }[event.key];
  if (move !== undefined && options.length > 0) {
    activate(options[(move + options.length) % options.length]);
  } else if (event.key === "Enter" && (active() || input.value.trim())) {
    choose(active() ? active().dataset.name : input.value);
  } else if (event.key === "Enter") {
    if (!find("result").hidden) startBuild();
  } else if (event.key === "Escape") {
    closeList();
  } else if (/^[ ,/]$/.test(event.key) && input.value.trim()) {
    choose(input.value);
  } else if (event.key === "Backspace" && !input.value && packages.length > 0) {
    remove(packages.at(-1));
  } else {
    return;
  }
  event.preventDefault();
}

// ---- The plan ----

let planning = null;

function shownLayers(plan) {
  return plan.layers.map((layer) => ({
    label: layerName(layer.reason, layer.paths.map(pathName)), size: layer.bytes, there: layer.inTree, paths: layer.paths.map(pathName),
  }));
}

function planOf(plan, several) {
  const box = element("div");
  if (several) box.append(element("h3", {}, plan.system));
  const list = element("table", {}, element("thead", {}, element("tr", {}, ...["Package", "Version"].map((text) => element("th", { scope: "col" }, text)))),
    element("tbody", {}, ...plan.packages.map((each) => element("tr", {},
      element("td", {}, element("code", {}, each.attribute), element("span", { class: "hint" }, each.description)), element("td", { class: "version" }, each.version)))));
  if (plan.layers) {
    const layers = shownLayers(plan);
    const there = layers.filter((layer) => layer.there).reduce((sum, layer) => sum + layer.size, 0);
    box.append(facts([bytes(plan.closureBytes), "unpacked"], [plan.closurePaths.toLocaleString("en"), "store paths"], [layers.length, "layers"],
      [bytes(plan.closureBytes - there), "new to this registry"]));
    box.append(treemap(layers, `${plural(layers.length, "layer")}, ${bytes(plan.closureBytes)} in total; see the list below`));
    box.append(legend(layers, "already in this registry, from other images", "new"));
    box.append(element("details", {}, element("summary", {}, "Packages"), element("div", { class: "scroll" }, list)));
    box.append(element("details", {}, element("summary", {}, "List of layers"), layerBars(layers)));
  } else {
    box.append(facts([plan.toBuildCount.toLocaleString("en"), "to build"], [plan.toFetchCount.toLocaleString("en"), "to fetch"]));
    box.append(element("p", { class: "hint" }, plan.download ? `${plan.download}. ` : "", "The layers are known once Nix has all store paths: build the image."));
    box.append(element("div", { class: "scroll" }, list));
  }
  return box;
}

async function showPlan() {
  const image = composed();
  planning?.abort();
  planning = new AbortController();
  const { signal } = planning;
  const body = find("plan-body");
  const waiting = (text) => body.replaceChildren(element("p", { class: "hint" }, text), element("progress", { "aria-label": "Evaluating" }));
  complain("");
  find("plan").hidden = false;
  waiting("Evaluating the packages…");
  try {
    const answer = await ask(`/api/plan/${reference(image.name, image.tag)}`, { signal, whenLate: (late) => waiting(`Evaluating the packages: ${late.text}`) });
    body.replaceChildren(...answer.plans.map((plan) => planOf(plan, answer.plans.length > 1)));
  } catch (error) {
    if (error.name === "AbortError") return;
    find("plan").hidden = true;
    complain(error.message);
  }
}

// ---- The build ----

let showing = null;  // AbortController of the shown build
let clock = 0;

function endBuild() {
  showing?.abort();
  showing = null;
  clearInterval(clock);
  find("start-build").disabled = false;
}

function showPhase(phase) {
  let done = true;
  for (const item of find("phases").children) {
    const current = item.dataset.phase === phase;
    if (current) done = false;
    item.classList.toggle("done", done);
    item.toggleAttribute("aria-current", current);
    if (current) item.setAttribute("aria-current", "step");
  }
}

function showState(state) {
  const bar = find("bar");
  if (state.phase) showPhase(state.phase);
  if (state.phase === "layering" && state.bytesTotal > 0) {
    bar.max = state.bytesTotal;
    bar.value = Math.min(state.bytesDone, state.bytesTotal);
  } else if (state.state !== "built" && state.state !== "failed") {
    bar.removeAttribute("value");
  }
  if (state.text) find("build-text").textContent = state.text;
}

function addLines(lines) {
  const log = find("log");
  const atEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 8;
  log.textContent = `${log.textContent}${lines.join("\n")}\n`.slice(-200000);
  if (atEnd) log.scrollTop = log.scrollHeight;
}

function landed(image) {
  endBuild();
  complain("");
  showPhase("");
  const bar = find("bar");
  bar.max = 1;
  bar.value = 1;
  find("build-text").replaceChildren("Built. ", element("a", { href: imagePage(image.name, image.tag) }, "See its contents"), ", or pull it.");
  showLists();
  if (!find("plan").hidden) showPlan();
}

function failed(message) {
  endBuild();
  find("phases").classList.add("failed");
  find("bar").max = 1;
  find("bar").value = 0;
  find("build-text").textContent = "It failed.";
  complain(message);
  showLists();
}

// A pull starts the build and follows its redirects. A 429 means that the build takes longer: then the events report
// its end, or without events, another pull.
async function pull(image, signal, isFollowed) {
  for (;;) {
    const response = await fetch(`/v2/${image.name}/manifests/${image.tag}`, {
      signal, headers: { Accept: "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json" },
    });
    if (response.status !== 429) return response;
    const { message } = await refusal(response);
    do {
      if (!isFollowed() && !signal.aborted) find("build-text").textContent = message;
      await pause(1000 * (Number(response.headers.get("Retry-After")) || 10), signal);
    } while (isFollowed());
  }
}

function startBuild() {
  if (showing) return complain("Another build is running: start this one when it has ended.");
  const image = composed();
  complain("");
  find("build").hidden = false;
  find("start-build").disabled = true;
  find("log").textContent = "";
  find("build-text").textContent = "Starting…";
  find("phases").classList.remove("failed");
  showPhase("queued");
  find("bar").removeAttribute("value");
  const start = Date.now();
  const tick = () => { find("build-time").textContent = `${Math.round((Date.now() - start) / 1000)} s`; };
  tick();
  clock = setInterval(tick, 1000);
  showing = new AbortController();
  const { signal } = showing;
  // The first reported end aborts the other requests.
  const once = (end) => (...words) => { if (!signal.aborted) end(...words); };
  const succeed = once(() => landed(image)), fail = once(failed);

  const source = new EventSource(`/api/events/${reference(image.name, image.tag)}`);
  signal.addEventListener("abort", () => source.close());
  source.addEventListener("open", () => { find("log").textContent = ""; });
  source.addEventListener("state", (event) => showState(JSON.parse(event.data)));
  source.addEventListener("log", (event) => addLines(JSON.parse(event.data).lines));
  source.addEventListener("built", succeed);
  source.addEventListener("failed", (event) => fail(JSON.parse(event.data).message));

  pull(image, signal, () => source.readyState !== EventSource.CLOSED)
    .then(async (response) => {
      if (response.ok) succeed();
      else fail((await refusal(response)).message);
    })
    .catch((error) => fail(`The registry cannot be reached: ${error.message}`));
}

// ---- Set up ----

for (const node of document.querySelectorAll("[data-host]")) node.textContent = location.host;
for (const [name, value] of Object.entries({ role: "combobox", "aria-expanded": "false", "aria-controls": "matches", "aria-autocomplete": "list" })) input.setAttribute(name, value);
input.addEventListener("input", search);
input.addEventListener("keydown", onKey);
input.addEventListener("blur", closeList);
document.querySelector(".picker").addEventListener("click", (event) => { if (event.target !== input) input.focus(); });
matches.addEventListener("mousedown", (event) => event.preventDefault());  // the input keeps the focus
matches.addEventListener("click", (event) => {
  const option = event.target.closest("[data-name]");
  if (option) choose(option.dataset.name);
});
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("change", (event) => { if (event.target !== input) show(); });
find("tag").addEventListener("input", show);
find("show-plan").addEventListener("click", showPlan);
find("start-build").addEventListener("click", startBuild);
makeCopier(find("copy"), () => find("command").textContent);

const tabs = [...document.querySelectorAll("[role=tab]")];
function select(tab) {
  for (const each of tabs) {
    each.setAttribute("aria-selected", String(each === tab));
    each.tabIndex = each === tab ? 0 : -1;
  }
  find("command-panel").setAttribute("aria-labelledby", tab.id);
  show();
}
tabs.forEach((tab, i) => {
  tab.addEventListener("click", () => select(tab));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = tabs[(i + step + tabs.length) % tabs.length];
    select(next);
    next.focus();
  });
});

const asked = new URLSearchParams(location.search);
for (const name of ["platform", "encoding"])
  for (const radio of form.elements[name]) radio.checked = radio.value === (asked.get(name) ?? "");
if (asked.has("packages")) form.elements.shell.checked = asked.get("shell") === "1";
form.elements.tag.value = asked.get("tag") ?? "";
input.value = "";
choose(asked.get("packages") ?? "");
showLists();
setInterval(() => { if (!document.hidden) showLists(); }, 10000);
