"use strict";
(() => {
  document.documentElement.classList.add("js");
  const figure = document.querySelector("figure");
  const panel = document.getElementById("panel");
  const things = [...figure.querySelectorAll(".thing")];

  // A thing that goes on over several parts of the picture is drawn once in each.
  const parts = new Map();
  for (const part of figure.querySelectorAll("[data-of]")) {
    parts.set(part.dataset.of, [...(parts.get(part.dataset.of) ?? []), part]);
  }
  const number = (thing) => thing.id.slice(1);
  const drawn = (id) => [document.getElementById("t" + id), ...(parts.get(id) ?? [])];

  // What is shown now, and what is to be shown again when the pointer has left.
  let shown = null;
  let kept = null;

  const light = (thing, on) => {
    for (const piece of drawn(number(thing))) piece.classList.toggle("on", on);
    for (const id of thing.dataset.with.split(" ").filter(Boolean)) {
      for (const piece of drawn(id)) piece.classList.toggle("lit", on);
    }
  };

  const show = (thing) => {
    if (thing === shown) return;
    if (shown) light(shown, false);
    shown = thing;
    if (thing) light(thing, true);
    figure.classList.toggle("looking", thing !== null);
    const details = document.getElementById(thing ? "d" + number(thing) : "hints");
    panel.replaceChildren(details.content.cloneNode(true));
  };

  const under = (event) => {
    const piece = event.target.closest?.(".thing, .part") ?? null;
    return piece?.dataset.of ? document.getElementById("t" + piece.dataset.of) : piece;
  };
  figure.addEventListener("mouseover", (event) => show(under(event) ?? kept));
  figure.addEventListener("mouseleave", () => show(kept));
  figure.addEventListener("focusin", (event) => {
    const thing = event.target.closest(".thing");
    if (thing) show((kept = thing));
  });
  figure.addEventListener("click", (event) => {
    const thing = under(event);
    if (thing) thing.focus({ preventScroll: true });
    else if (!event.target.closest(".top")) forget();
  });

  const forget = () => {
    kept?.blur();
    kept = null;
    show(null);
  };

  const go = (thing) => {
    if (!thing) return;
    thing.focus({ preventScroll: true });
    thing.scrollIntoView({ block: "center", inline: "nearest" });
  };
  panel.addEventListener("click", (event) => {
    const link = event.target.closest("a");
    if (!link) return;
    event.preventDefault();
    go(document.getElementById(link.hash.slice(1)));
  });

  // From one visible thing to the next: a lens that is switched off hides some.
  const step = (by) => {
    const isVisible = (thing) => thing.getClientRects().length > 0;
    const visible = things.filter(isVisible);
    const at = visible.indexOf(kept);
    go(at < 0 ? visible[by > 0 ? 0 : visible.length - 1] : visible[at + by]);
  };

  // A class on the figure, not `:has(:checked)`, which would have every style looked up anew whenever a thing is lit.
  for (const lens of figure.querySelectorAll(".controls input")) {
    const set = () => figure.classList.toggle("without-" + lens.id.slice("lens-".length), !lens.checked);
    lens.addEventListener("change", set);
    // A browser may keep a box unchecked when the page is loaded again.
    set();
  }

  const sheets = [...figure.querySelectorAll("svg.head, svg.body")];
  let zoom = 1;
  const resize = (to) => {
    zoom = Math.min(3, Math.max(0.4, to));
    for (const sheet of sheets) {
      sheet.style.width = sheet.viewBox.baseVal.width * zoom + "px";
      sheet.style.height = sheet.viewBox.baseVal.height * zoom + "px";
    }
    document.getElementById("scale").textContent = Math.round(zoom * 100) + " %";
  };
  // Where the window is too narrow, somewhat smaller, as long as it can be read.
  const first = () => {
    const room = document.querySelector("main").clientWidth;
    const needed = sheets[0].viewBox.baseVal.width;
    return Math.min(1, Math.max(0.75, room / needed));
  };
  document.getElementById("larger").addEventListener("click", () => resize(zoom * 1.2));
  document.getElementById("smaller").addEventListener("click", () => resize(zoom / 1.2));

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const isInPage = event.target === document.body || figure.contains(event.target) && !event.target.closest(".top");
    const keys = {
      ArrowDown: () => isInPage && step(1),
      ArrowRight: () => isInPage && step(1),
      ArrowUp: () => isInPage && step(-1),
      ArrowLeft: () => isInPage && step(-1),
      "+": () => resize(zoom * 1.2),
      "=": () => resize(zoom * 1.2),
      "-": () => resize(zoom / 1.2),
      "0": () => resize(first()),
      Escape: forget,
    };
    const act = Object.hasOwn(keys, event.key) ? keys[event.key] : null;
    if (act && act() !== false) event.preventDefault();
  });

  document.getElementById("events").open = false;
  resize(first());
})();
