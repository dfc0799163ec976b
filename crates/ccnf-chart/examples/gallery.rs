//! Writes a page with every kind of chart and table, nasty input included: `gallery [PAGE.html]`.
//!
//! With a path, every chart is also written beside the page as a stand-alone `.svg`, the first table as `.csv`, `.md`
//! and `.tex`, and a page with a little of everything as `small.html`. The browser test (`tests/browser/run`) drives
//! the pages.

#[path = "gallery/content.rs"]
mod content;

use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let (page, charts) = content::page();
    let Some(path) = std::env::args_os().nth(1).map(PathBuf::from) else {
        println!("{}", page.to_html());
        return Ok(());
    };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(&path, page.to_html())?;
    std::fs::write(path.with_file_name("small.html"), content::small_page().to_html())?;
    for (name, chart) in charts {
        std::fs::write(path.with_file_name(format!("{name}.svg")), chart.svg().standalone())?;
    }
    let table = content::leader_board();
    std::fs::write(path.with_extension("csv"), table.to_csv())?;
    std::fs::write(path.with_extension("md"), table.to_markdown())?;
    std::fs::write(path.with_extension("tex"), table.to_latex())?;
    println!("{}", path.display());
    Ok(())
}
