// Questions that check.py asks inside the page. Every function returns a list of complaints; none changes the page
// unless its name says so.
(() => {
  const name = (el) => {
    const title = el.querySelector?.(":scope > title, :scope > caption")?.textContent || el.textContent || "";
    return `<${el.tagName.toLowerCase()}> "${title.trim().replace(/\s+/g, " ").slice(0, 50)}"`;
  };
  const charts = () => [...document.querySelectorAll("svg")];
  const rgb = (css) => {
    const m = css.match(/rgba?\(([\d.]+)[, ]+([\d.]+)[, ]+([\d.]+)(?:[,/ ]+([\d.]+))?/);
    return m && { c: [m[1], m[2], m[3]].map(Number), a: m[4] === undefined ? 1 : Number(m[4]) };
  };
  const luminance = (c) => {
    const [r, g, b] = c.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (a, b) => {
    const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
    return (high + 0.05) / (low + 0.05);
  };

  window.probes = {
    openAllDetails() {
      document.querySelectorAll("details:not(.zoom)").forEach((d) => { d.open = true; });
    },

    images() {
      return [...document.images].flatMap((img) => [
        ...(img.naturalWidth > 0 ? [] : [`image does not decode: ${img.alt}`]),
        ...(img.alt.trim() ? [] : ["image without alt text"]),
      ]);
    },

    // A box, a title, and every text inside the viewBox.
    chartBoxes() {
      const bad = [];
      for (const svg of charts()) {
        const box = svg.getBoundingClientRect();
        if (!(box.width > 20 && box.height > 20)) { bad.push(`${name(svg)} has the box ${box.width} x ${box.height}`); continue; }
        if (!svg.querySelector(":scope > title")?.textContent.trim()) bad.push("svg without <title>");
        const scale = svg.viewBox.baseVal.width / box.width;
        for (const text of svg.querySelectorAll("text")) {
          const t = text.getBoundingClientRect();
          const over = Math.max(box.left - t.left, t.right - box.right, box.top - t.top, t.bottom - box.bottom) * scale;
          if (over > 2) bad.push(`${name(svg)}: ${name(text)} reaches ${over.toFixed(1)} beyond the viewBox`);
        }
      }
      return bad;
    },

    // Texts that lie level must not cover each other.
    chartOverlaps() {
      const bad = [];
      for (const svg of charts()) {
        const scale = svg.viewBox.baseVal.width / svg.getBoundingClientRect().width;
        const texts = [...svg.querySelectorAll("text:not([transform])")].filter((t) => t.textContent.trim());
        const boxes = texts.map((t) => t.getBoundingClientRect());
        boxes.forEach((a, i) => boxes.slice(0, i).forEach((b, j) => {
          const w = Math.min(a.right, b.right) - Math.max(a.left, b.left);
          const h = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
          if (w * scale > 1 && h * scale > 4) bad.push(`${name(svg)}: ${name(texts[i])} covers ${name(texts[j])}`);
        }));
      }
      return bad;
    },

    // axe-core does not look at text in SVG: its colour against the last opaque rectangle under it.
    chartContrast() {
      const page = rgb(getComputedStyle(document.body).backgroundColor).c;
      const bad = [];
      for (const svg of charts()) {
        let grounds = [];
        for (const el of svg.querySelectorAll("rect, text")) {
          const fill = rgb(getComputedStyle(el).fill);
          const box = el.getBoundingClientRect();
          if (el.tagName === "rect") { if (fill && fill.a === 1) grounds.push({ box, c: fill.c }); continue; }
          const [x, y] = [box.left + box.width / 2, box.top + box.height / 2];
          const under = grounds.findLast((g) => g.box.left <= x && x <= g.box.right && g.box.top <= y && y <= g.box.bottom);
          const ratio = contrast(fill.c, under ? under.c : page);
          if (ratio < 4.5) bad.push(`${name(svg)}: ${name(el)} has a contrast of ${ratio.toFixed(2)}`);
        }
      }
      return bad;
    },

    pageOverflow() {
      const wide = document.scrollingElement.scrollWidth - document.documentElement.clientWidth;
      if (wide <= 0) return [];
      const guilty = [...document.body.querySelectorAll("*")]
        .filter((el) => el.getBoundingClientRect().right > document.documentElement.clientWidth + 1 && !el.closest(".scroll"));
      return [`the page is ${wide}px wider than the window (${guilty.slice(0, 3).map(name).join(", ")})`];
    },

    storage() {
      try { return localStorage.length + sessionStorage.length > 0 ? ["the page stores something"] : []; } catch { return []; }
    },

    // What the folded parts look like without their being opened, for print by style sheet alone.
    foldedInPrint() {
      return [...document.querySelectorAll("details:not(.zoom):not([open])")]
        .filter((d) => getComputedStyle(d, "::details-content").contentVisibility === "hidden")
        .map((d) => `stays folded on paper: ${name(d.querySelector("summary"))}`);
    },

    visibleButtonsOutsideTables() {
      return [...document.querySelectorAll("button")]
        .filter((b) => !b.closest("th") && b.checkVisibility()).map((b) => `button on paper: ${name(b)}`);
    },

    // The keys of a column, top to bottom: null for undefined, a number, or a text.
    columnKeys([table, column]) {
      const rows = [...document.querySelectorAll("table.sortable")[table].tBodies[0].rows];
      return rows.map((row) => {
        const cell = row.cells[column];
        if (cell.hasAttribute("data-undefined")) return null;
        return cell.hasAttribute("data-value") ? Number(cell.getAttribute("data-value")) : cell.textContent.trim();
      });
    },

    // Whether the first keys come no later than the second ones: numbers, then texts, then undefined.
    inOrder([keys, descending]) {
      const collator = new Intl.Collator(document.documentElement.lang, { numeric: true });
      const rank = (k) => (k === null ? 2 : typeof k === "number" ? 0 : 1);
      return keys.slice(1).every((b, i) => {
        const a = keys[i];
        if (rank(a) === 2 || rank(b) === 2) return rank(b) === 2;
        const order = rank(a) - rank(b) || (rank(a) === 0 ? a - b : collator.compare(a, b));
        return descending ? order >= 0 : order <= 0;
      });
    },
  };
})();
