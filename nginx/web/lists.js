// The lists of recent builds and failures on the start page.
import { ago, ask, bytes, element, imagePage, plural, reference, since } from "./parts.js";

const find = (id) => document.getElementById(id);

// A list is only replaced when it changes, so that open and focused elements stay.
const lastAnswers = new Map();

async function showList(id, path, rows, none) {
  try {
    const answer = await ask(path);
    for (const time of find(id).querySelectorAll("time")) time.textContent = since(Date.parse(time.dateTime) / 1000);
    if (lastAnswers.get(id) === JSON.stringify(answer)) return;
    lastAnswers.set(id, JSON.stringify(answer));
    const list = rows(answer);
    find(id).replaceChildren(list.length ? element("ul", { class: "rows" }, ...list) : element("p", { class: "hint" }, none));
  } catch (error) {
    lastAnswers.delete(id);
    find(id).replaceChildren(element("p", { class: "hint" }, error.message));
  }
}

const shortReference = (each) => (each.tag === "latest" ? each.name : reference(each.name, each.tag));

export function showLists() {
  showList("images", "/api/images", (answer) => answer.images.slice(0, 12).map((each) => element("li", {},
    element("a", { href: imagePage(each.name, each.tag) }, shortReference(each)),
    element("span", { class: "hint" }, [bytes(each.size), plural(each.layers, "layer"), ...each.architectures].join(" · "), " · ", ago(each.time)))), "Nothing yet.");
  showList("failures", "/api/failures", (answer) => answer.failures.slice(0, 8).map((each) => element("li", {},
    element("code", {}, shortReference(each)), element("span", { class: "hint" }, each.failure.replaceAll("_", " "), " · ", ago(each.time)),
    element("p", {}, each.message),
    each.log ? element("details", {}, element("summary", {}, "End of its log"), element("pre", { class: "log", tabindex: "0" }, each.log)) : null)), "Nothing.");
}
