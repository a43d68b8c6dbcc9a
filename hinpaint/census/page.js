
const box = document.getElementById("search");
const rows = Array.from(document.querySelectorAll("#stopped tbody tr"), (row) => [row, row.textContent.toLowerCase()]);
const shown = document.getElementById("shown");
box.closest("p").hidden = false;
box.addEventListener("input", () => {
  const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const [row, text] of rows) {
    row.hidden = !words.every((word) => text.includes(word));
    count += row.hidden ? 0 : 1;
  }
  shown.textContent = `${count} of ${rows.length} shown`;
});
