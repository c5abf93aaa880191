/* What all pages share: their looks, light, dark and printed, and the one script. */
#include "report/html.h"

static const char STYLE[] =
    ":root{color-scheme:light dark;--bg:#fff;--ink:#1b1f24;--soft:#5b6570;--line:#dfe3e8;--card:#f6f8fa;--accent:#0072b2;--warn:#8a4b00;--warn-bg:#fff6e5;"
    "--axis:#444;--grid:#e6e6e6;--c1:#0072b2;--c2:#d55e00;--c3:#009e73;--c4:#cc79a7;--c5:#e69f00;--c6:#56b4e9;--c7:#555;--c8:#000}\n"
    "@media (prefers-color-scheme:dark){:root{--bg:#15181c;--ink:#e4e7eb;--soft:#9aa4af;--line:#30363d;--card:#1d2126;--accent:#56b4e9;--warn:#f0b65a;--warn-bg:#2b2212;"
    "--axis:#8b949e;--grid:#2b3138;--c1:#58b0e3;--c2:#ff8f4a;--c3:#38c99c;--c4:#e5a3c8;--c5:#f5bd4f;--c6:#9ad3f5;--c7:#a8b0b8;--c8:#e4e7eb}}\n"
    "*{box-sizing:border-box}\n"
    "body{margin:0;background:var(--bg);color:var(--ink);font:16px/1.5 system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif}\n"
    "main{max-width:68rem;margin:0 auto;padding:1.5rem 1.25rem 4rem}\n"
    "h1{font-size:1.5rem;line-height:1.3;margin:.2rem 0 .3rem;text-wrap:balance}h2{font-size:1.15rem;margin:2.2rem 0 .6rem}h3{font-size:1rem;margin:1.4rem 0 .2rem}\n"
    ".run{color:var(--soft);margin:0}.verdict{margin:.6rem 0 1rem;font-weight:600}\n"
    ".wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}\n"
    "th,td{padding:.32rem .9rem .32rem 0;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}\n"
    "th:first-child,td:first-child{text-align:left;font-weight:400;white-space:normal;min-width:min(14rem,42vw)}thead th{font-weight:600;border-bottom-color:var(--soft)}\n"
    ".se,.unit,.key{color:var(--soft);font-size:.85em}.none{color:var(--soft);font-style:italic;font-size:.9em;white-space:normal}\n"
    ".tables{display:flex;flex-wrap:wrap;gap:1rem 3rem;align-items:flex-start}\n"
    ".warnings{margin:1.2rem 0;padding:.6rem 1rem;background:var(--warn-bg);border-left:4px solid var(--warn);border-radius:.2rem}.warnings ul{margin:.2rem 0;padding-left:1.2rem}.warnings b{color:var(--warn)}\n"
    "dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1.2rem;margin:.6rem 0}dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}\n"
    "pre{background:var(--card);border:1px solid var(--line);border-radius:.4rem;padding:.7rem 1rem;overflow-x:auto;font:.88rem/1.45 ui-monospace,'DejaVu Sans Mono',monospace}\n"
    ".plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(30rem,100%),1fr));gap:1.2rem}\n";

/* Pictures, cards, copying and paper. Apart, since C promises strings of 4095 bytes only. */
static const char PARTS[] =
    "figure{margin:0;padding:.4rem;border:1px solid var(--line);border-radius:.4rem;break-inside:avoid}figure svg{display:block;width:100%;height:auto}\n"
    "figure svg.paper{background:#fff}.forest svg{display:block;width:100%;height:auto;max-width:60rem;font-size:13px}.forest .dot{fill:var(--c1);fill-opacity:.45}.forest .mean{fill:var(--c1)}\n"
    ".forest .bar{stroke:var(--c1);stroke-width:2}.forest .zero{stroke:var(--axis)}.forest .chance{stroke:var(--c2);stroke-width:2;stroke-dasharray:3 2}.forest text{fill:var(--ink)}.forest .low{fill:var(--soft)}\n"
    ".badge{display:inline-block;padding:.15rem .6rem;border:2px solid var(--accent);border-radius:.4rem;color:var(--accent);font-weight:700;letter-spacing:.02em;margin-right:.6rem}\n"
    ".copy{margin:.2rem 0;font-size:.8rem}.copy button{font:inherit;margin-right:.35rem;padding:.1rem .5rem;border:1px solid var(--line);border-radius:.3rem;background:var(--card);color:var(--ink);cursor:pointer}\n"
    "figure svg text,figure svg tspan{font-family:inherit}figcaption{color:var(--soft);font-size:.85rem;padding:0 .6rem .3rem}\n"
    "a{color:var(--accent)}summary{cursor:pointer;color:var(--accent);margin:.4rem 0}footer{margin-top:3rem;color:var(--soft);font-size:.85rem}\n"
    ".cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(24rem,100%),1fr));gap:1rem}.card{border:1px solid var(--line);border-radius:.4rem;padding:.6rem .9rem;break-inside:avoid}\n"
    ".card h4{margin:.1rem 0 .4rem}.card ol,.card ul{margin:.2rem 0 .5rem;padding-left:1.3rem;font-size:.88rem}.card code{overflow-wrap:anywhere}\n"
    "@media print{:root{--bg:#fff;--ink:#000;--soft:#444;--line:#bbb;--card:#fff;--accent:#004b75;--warn:#5c3200;--warn-bg:#fff;"
    "--axis:#444;--grid:#e6e6e6;--c1:#0072b2;--c2:#d55e00;--c3:#009e73;--c4:#cc79a7;--c5:#e69f00;--c6:#56b4e9;--c7:#555;--c8:#000}\n"
    "body{font-size:10.5pt}main{max-width:none;padding:0}.plots{grid-template-columns:1fr 1fr}details:not([open]),.copy{display:none}}\n";

/* Plain and small: it adds buttons to each table; clipboard access falls back to a selected text field, which pages opened from disk need. */
static const char SCRIPT[] =
    "(function(){'use strict';\n"
    "function cells(r){return Array.prototype.map.call(r.cells,function(c){return c.innerText.replace(/\\s+/g,' ').trim()})}\n"
    "function rows(t){return Array.prototype.map.call(t.rows,cells)}\n"
    "var to={CSV:function(r){return r.map(function(c){return c.map(function(x){return /[\",\\n]/.test(x)?'\"'+x.replace(/\"/g,'\"\"')+'\"':x}).join(',')}).join('\\n')},\n"
    "Markdown:function(r){var l=r.map(function(c){return '| '+c.map(function(x){return x.replace(/\\|/g,'\\\\|')}).join(' | ')+' |'});\n"
    "l.splice(1,0,'|'+r[0].map(function(x,i){return i?'--:':':--'}).join('|')+'|');return l.join('\\n')},\n"
    "LaTeX:function(r){var e=function(x){return x.replace(/\\\\/g,'\\\\textbackslash ').replace(/[&%$#_{}]/g,'\\\\$&').replace(/±/g,'$\\\\pm$')};\n"
    "return '\\\\begin{tabular}{l'+'r'.repeat(r[0].length-1)+'}\\n'+r.map(function(c){return c.map(e).join(' & ')+' \\\\\\\\'}).join('\\n')+'\\n\\\\end{tabular}'}};\n"
    "function put(text,b){var done=function(){var s=b.textContent;b.textContent='copied';setTimeout(function(){b.textContent=s},900)};\n"
    "var old=function(){var a=document.createElement('textarea');a.value=text;document.body.appendChild(a);a.select();document.execCommand('copy');a.remove();done()};\n"
    "if(navigator.clipboard)navigator.clipboard.writeText(text).then(done,old);else old()}\n"
    "function button(name,text){var b=document.createElement('button');b.type='button';b.textContent=name;b.addEventListener('click',function(){put(text(),b)});return b}\n"
    "document.querySelectorAll('table').forEach(function(t){var d=document.createElement('div');d.className='copy';d.append('copy as ');\n"
    "Object.keys(to).forEach(function(k){d.appendChild(button(k,function(){return to[k](rows(t))}))});var w=document.createElement('div');t.parentNode.insertBefore(w,t);w.append(d,t)});\n"
    "document.querySelectorAll('pre.command').forEach(function(p){var d=document.createElement('div');d.className='copy';d.appendChild(button('copy',function(){return p.textContent}));p.parentNode.insertBefore(d,p)});\n"
    "})();\n";

void sl_h_style(sl_html *h)
{
    sl_h(h, "<style>\n");
    sl_h(h, STYLE);
    sl_h(h, PARTS);
    sl_h(h, "</style>");
}

void sl_h_script(sl_html *h)
{
    sl_h(h, "<script>\n");
    sl_h(h, SCRIPT);
    sl_h(h, "</script>\n");
}
