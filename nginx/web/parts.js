// Helpers of both pages. Text only becomes text nodes: nothing from a server is parsed as HTML.

/** element("p", {class: "hint", hidden: true}, "text", child…) */
export function element(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** Likewise, of SVG. */
export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === undefined || value === null) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}

export function bytes(count) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (count >= 999.5 && unit < units.length - 1) {
    count /= 1000;
    unit += 1;
  }
  return `${unit > 0 && count < 9.95 ? count.toFixed(1) : Math.round(count)} ${units[unit]}`;
}

export function plural(count, one, many = `${one}s`) {
  return `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
}

/** "3 minutes ago" */
export function since(seconds) {
  const past = Math.max(0, Date.now() / 1000 - seconds);
  const steps = [[60, "second", 1], [3600, "minute", 60], [86400, "hour", 3600], [Infinity, "day", 86400]];
  const [, unit, size] = steps.find(([below]) => past < below);
  return past < 10 ? "just now" : `${plural(Math.floor(past / size), unit)} ago`;
}

/** The same as an element whose tooltip is the exact time. */
export function ago(seconds) {
  const date = new Date(seconds * 1000);
  return element("time", { datetime: date.toISOString(), title: date.toLocaleString() }, since(seconds));
}

/** An error response of the registry, or the reason for a missing response. */
export class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export async function refusal(response) {
  let message = `The registry responded with status ${response.status}.`;
  try {
    message = (await response.json()).errors[0].message;
  } catch { /* no JSON: the status has to do */ }
  return new Refusal(response.status, message);
}

/** JSON of /api/…; `whenLate(json)` is called for each 202, then it retries. */
export async function ask(path, { signal, whenLate } = {}) {
  for (;;) {
    const response = await fetch(path, { signal, headers: { Accept: "application/json" } });
    if (response.status === 202) {
      whenLate?.(await response.json());
      await pause(1000 * Number(response.headers.get("Retry-After") || 2), signal);
      continue;
    }
    if (!response.ok) throw await refusal(response);
    return response.json();
  }
}

export function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}

/** Names and tags consist of characters that need no escape in a path. */
export function reference(name, tag) {
  return `${name}:${tag || "latest"}`;
}

export function imagePage(name, tag) {
  return `/web/image.html?${new URLSearchParams({ name: reference(name, tag) })}`;
}

export function commands(name, tag, program) {
  const image = `${location.host}/${name}${tag && tag !== "latest" ? `:${tag}` : ""}`;
  const plain = location.protocol === "http:";
  const run = program ? ` ${program}` : "";
  return {
    docker: `docker run --rm -it ${image}${run}`,
    podman: `podman run --rm -it ${plain ? "--tls-verify=false " : ""}${image}${run}`,
    kubernetes: `kubectl run nixery --rm -it --image=${image}${program ? ` --${run}` : ""}`,
    skopeo: `skopeo copy ${plain ? "--src-tls-verify=false " : ""}docker://${image} docker-archive:image.tar`,
  };
}

/** A button that copies what `text()` returns. */
export function makeCopier(button, text) {
  const label = button.textContent;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text());
      button.textContent = "Copied";
    } catch {  // not allowed unless the page was loaded by https
      const range = document.createRange();
      range.selectNodeContents(button.parentElement.querySelector("code"));
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      button.textContent = document.execCommand("copy") ? "Copied" : "Selected";
    }
    setTimeout(() => { button.textContent = label; }, 1500);
  });
}

// Rectangles with areas proportional to `weights`, in descending order, as square as possible (Bruls, Huizing, van
// Wijk: "Squarified Treemaps").
function squarify(weights, x, y, width, height) {
  const places = [];
  let rest = weights.reduce((sum, weight) => sum + weight, 0);
  let first = 0;
  while (first < weights.length && rest > 0) {
    const scale = (width * height) / rest;
    const side = Math.min(width, height);
    let last = first, sum = 0, worst = Infinity;
    while (last < weights.length) {
      const next = sum + weights[last];
      const depth = (next * scale) / side;
      const ratios = [weights[first], weights[last]].map((weight) => (weight * scale) / depth / depth);
      const ratio = Math.max(...ratios.map((r) => Math.max(r, 1 / r)));
      if (ratio > worst) break;
      worst = ratio;
      sum = next;
      last += 1;
    }
    const depth = (sum * scale) / side;
    let along = 0;
    for (; first < last; first += 1) {
      const length = (weights[first] * scale) / depth;
      places.push(width >= height ? [x, y + along, depth, length] : [x + along, y, length, depth]);
      along += length;
    }
    if (width >= height) {
      x += depth;
      width -= depth;
    } else {
      y += depth;
      height -= depth;
    }
    rest -= sum;
  }
  return places;
}

/** Layers ({label, size, there}) as areas. All of it is in layerBars() too: screen readers are sent there. */
export function treemap(layers, label) {
  const sorted = layers.filter((layer) => layer.size > 0).sort((a, b) => b.size - a.size);
  const narrow = matchMedia("(max-width: 40rem)");
  const picture = svg("svg", { class: "treemap", role: "img", "aria-label": label });
  const draw = () => {
    const [width, height] = narrow.matches ? [420, 330] : [880, 300];
    const places = squarify(sorted.map((layer) => layer.size), 0, 0, width, height);
    picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
    picture.replaceChildren(...places.map((place, i) => tile(sorted[i], i, ...place)));
  };
  narrow.addEventListener("change", draw);
  draw();
  return picture;
}

function tile(layer, i, x, y, width, height) {
  const room = Math.floor((width - 16) / 7.3);  // characters
  const name = layer.label.length > room ? `${layer.label.slice(0, room - 1)}…` : layer.label;
  return svg("g", {},
    svg("title", {}, `${layer.label}, ${bytes(layer.size)}`),
    svg("rect", { x, y, width: Math.max(width, 0.5), height: Math.max(height, 0.5), rx: 3, class: `${layer.there ? "there" : "new"} shade-${i % 3}` }),
    height > 26 && room > 3 ? svg("text", { x: x + 9, y: y + 20 }, name) : null,
    height > 46 && room > 6 ? svg("text", { x: x + 9, y: y + 37, class: "size" }, bytes(layer.size)) : null);
}

/** What the two colours mean; of layers that are all alike, only theirs. */
export function legend(layers, there, fresh) {
  const item = (kind, text) =>
    element("li", {}, svg("svg", { viewBox: "0 0 10 10", "aria-hidden": "true" }, svg("rect", { width: 10, height: 10, rx: 2, class: kind })), text);
  return element("ul", { class: "legend" }, 
    layers.some((layer) => layer.there) ? item("there", there) : null, layers.some((layer) => !layer.there) ? item("new", fresh) : null);
}

/** Layers ({label, size, there, paths: [text]}) as a list of bars; the paths only where there are several. */
export function layerBars(layers) {
  const most = Math.max(...layers.map((layer) => layer.size), 1);
  return element("ol", { class: "bars" }, ...layers.map((layer) => element("li", {},
    element("div", { class: "line" }, element("span", {}, layer.label), element("span", {}, bytes(layer.size), layer.there ? "" : " · new")),
    svg("svg", { viewBox: "0 0 100 4", preserveAspectRatio: "none", "aria-hidden": "true" },
      svg("rect", { width: Math.max((100 * layer.size) / most, 0.4), height: 4, class: layer.there ? "there" : "new" })),
    layer.paths.length < 2 ? null : element("details", {}, element("summary", {}, plural(layer.paths.length, "store path")),
      element("ul", { class: "paths" }, ...layer.paths.map((path) => element("li", {}, path)))))));
}

/** "/nix/store/<hash>-curl-8.0" -> "curl-8.0" */
export function pathName(path) {
  return path.replace(/^\/nix\/store\/[^-]*-/, "");
}

/** The name of a layer, from its paths' names and its reason: "alone: 41 MB", "krb5-1.20 with 3 paths that it needs: 1.9 MB". */
export function layerName(reason, names) {
  return names.length === 1 ? names[0] : reason.replace(/:? *[\d.]+ [kMG]?B$/, "");
}

export function facts(...pairs) {
  return element("ul", { class: "facts" }, ...pairs.map(([value, what]) => element("li", {}, element("b", {}, value), element("span", {}, what))));
}
