// The page of one image: /web/image.html?name=<name>:<tag>.
import { ask, bytes, commands, element, facts, layerBars, layerName, makeCopier, pathName, plural, treemap } from "./parts.js";

const kinds = {
  "application/spdx+json": "SPDX document",
  "application/vnd.cyclonedx+json": "CycloneDX document",
  "application/vnd.in-toto+json": "Provenance (SLSA)",
  "application/vnd.dev.cosign.artifact.sig.v1+json": "Signature (cosign)",
};

function packagesOf(image) {
  const name = (each) => (/^https?:\/\//.test(each.homepage ?? "") ? element("a", { href: each.homepage, rel: "noreferrer" }, each.name) : each.name);
  const packages = [...image.packages].sort((a, b) => (a.name < b.name ? -1 : 1));
  return element("div", { class: "scroll" }, element("table", {},
    element("thead", {}, element("tr", {}, ...["Package", "Version", "Licences"].map((text) => element("th", { scope: "col" }, text)))),
    element("tbody", {}, ...packages.map((each) => element("tr", {},
      element("td", {}, name(each), element("span", { class: "hint" }, each.description ?? "")), element("td", { class: "version" }, each.version),
      element("td", {}, ...(each.licenses ?? []).map((license) => element("span", { class: "license" }, license))))))));
}

function attachedList(referrers, signature) {
  const rows = referrers.map((each) => element("li", {},
    element("a", { href: each.document ?? each.manifest }, kinds[each.type] ?? each.type),
    element("span", { class: "hint" }, each.size === undefined ? "" : `${bytes(each.size)} · `, element("a", { href: each.manifest }, "manifest"))));
  if (signature) rows.push(element("li", {}, element("a", { href: signature }, "Signature tag"), element("span", { class: "hint" }, "used by cosign first")));
  return rows.length ? element("ul", { class: "rows" }, ...rows) : element("p", { class: "hint" }, "No attached documents.");
}

const card = (title, ...content) => element("section", { class: "card" }, element("h2", {}, title), ...content);

function pageOf(image, several) {
  const layers = image.layers.map((layer) => ({
    label: layerName(layer.reason, layer.paths.map((each) => pathName(each.path))) || layer.digest, size: layer.size, there: true,
    paths: layer.paths.map((each) => `${pathName(each.path)} · ${bytes(each.size)}`),
  }));
  const paths = image.layers.reduce((sum, layer) => sum + layer.paths.length, 0);
  return element("div", {},
    several ? element("h2", {}, `${image.os}/${image.architecture}`) : null,
    facts([bytes(image.size), "to pull"], [layers.length, "layers"], ...(paths ? [[paths.toLocaleString("en"), "store paths"]] : []), [`${image.os}/${image.architecture}`, "platform"]),
    card("Packages", packagesOf(image)),
    card("Layers", treemap(layers, `${plural(layers.length, "layer")}, ${bytes(image.size)} in total; see the list below`), element("p", { class: "hint" }, "By compressed size."),
      element("details", {}, element("summary", {}, "List of layers"), layerBars(layers))),
    card("Attached", attachedList(image.referrers)));
}

function commandBox(line) {
  const code = element("code", {}, line);
  const button = element("button", { type: "button", class: "quiet" }, "Copy");
  const box = element("div", { class: "copyable" }, element("pre", { class: "command" }, code), button);
  makeCopier(button, () => code.textContent);
  return box;
}

async function show() {
  const name = new URLSearchParams(location.search).get("name") ?? "";
  const body = document.getElementById("image");
  document.getElementById("title").textContent = name.replace(/:latest$/, "") || "Which image?";
  document.title = `${name || "Image"} – Nixery`;
  if (!name) return;
  try {
    const report = await ask(`/api/image/${name.split("/").map((part) => encodeURIComponent(part).replaceAll("%3A", ":")).join("/")}`);
    const colon = report.reference.lastIndexOf(":");
    const [repository, tag] = [report.reference.slice(0, colon), report.reference.slice(colon + 1)];
    const several = report.images.length > 1;
    body.replaceChildren(
      element("p", { class: "digest" }, element("code", {}, report.digest)),
      commandBox(commands(repository, tag, repository.split("/").includes("shell") ? "bash" : "").docker),
      ...report.images.map((image) => pageOf(image, several)));
    if (report.referrers?.length || report.signature) body.append(card(several ? "Attached to the index" : "Signature", attachedList(report.referrers ?? [], report.signature)));
  } catch (error) {
    body.replaceChildren();
    const problem = document.getElementById("problem");
    problem.textContent = error.message;
    problem.hidden = false;
  }
}

show();
