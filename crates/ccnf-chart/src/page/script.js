// What needs a script: sorting tables, choosing the theme, unfolding for print. The page reads without it.
(() => {
  "use strict";
  const root = document.documentElement;
  root.classList.add("js");

  // The theme: the system's until the button is pressed; nothing is stored.
  const button = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const label = () => { button.textContent = isDark() ? "Light theme" : "Dark theme"; };
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    label();
  });
  system.addEventListener("change", label);
  label();

  // Sorting: numbers by value, then texts, undefined cells last in both directions; ties keep their first order.
  const collator = new Intl.Collator(root.lang, { numeric: true });
  const key = (cell) => {
    if (cell.dataset.undefined !== undefined) return { rank: 2, value: 0 };
    if (cell.dataset.value !== undefined) return { rank: 0, value: Number(cell.dataset.value) };
    return { rank: 1, value: cell.textContent.trim() };
  };
  const compare = (a, b, sign) => {
    if (a.rank === 2 || b.rank === 2) return a.rank - b.rank;
    if (a.rank !== b.rank) return sign * (a.rank - b.rank);
    return sign * (a.rank === 0 ? a.value - b.value : collator.compare(a.value, b.value));
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    const body = table.tBodies[0];
    const heads = [...table.tHead.rows[0].cells];
    const first = [...body.rows];
    if (first.length < 2) continue;
    heads.forEach((head, column) => {
      head.querySelector("button").addEventListener("click", () => {
        const ascending = head.getAttribute("aria-sort") !== "ascending";
        const rows = first.map((row) => ({ row, key: key(row.cells[column]) }));
        rows.sort((a, b) => compare(a.key, b.key, ascending ? 1 : -1));
        body.append(...rows.map((r) => r.row));
        heads.forEach((h) => h.setAttribute("aria-sort", "none"));
        head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      });
    });
  }

  // A part that scrolls sideways must be reachable with the keyboard, one that does not should not stop it.
  const reachable = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      if (target.scrollWidth > target.clientWidth + 1) target.tabIndex = 0;
      else target.removeAttribute("tabindex");
    }
  });
  document.querySelectorAll(".scroll").forEach((part) => reachable.observe(part));

  // Enlarged images close with Escape.
  addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    document.querySelectorAll("details.zoom[open]").forEach((d) => { d.open = false; });
  });

  // On paper nothing is folded.
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not(.zoom):not([open])")];
    folded.forEach((d) => { d.open = true; });
  });
  addEventListener("afterprint", () => { folded.forEach((d) => { d.open = false; }); });
})();
