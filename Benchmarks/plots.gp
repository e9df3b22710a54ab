# Draws the CSV files of `bench curves`: gnuplot -e "from='DIRECTORY'; to='DIRECTORY'" Benchmarks/plots.gp
set datafile separator ","
set terminal pngcairo size 1000,760 font "DejaVu Sans,10" linewidth 1.5 background "white"
set key top left Left reverse samplen 2 spacing 1.1
set rmargin 4
set grid linecolor "#bbbbbb" linewidth 0.5
set border 3
set tics nomirror
set style data linespoints
set style line 1 linecolor "#1b6ca8" pointtype 7 pointsize 0.7
set style line 2 linecolor "#888888" pointtype 5 pointsize 0.7
set style line 3 linecolor "#c0504d" pointtype 9 pointsize 0.8
set logscale xy
set ylabel "µs"

set output to."/growth.png"
set multiplot layout 2,2 title "How times grow (p50)"
set xlabel "workers that are told"
set logscale x 2
set yrange [1:]
plot from."/growth-workers.csv" using 1:2 title columnheader ls 1, "" using 1:3 title columnheader ls 2
set xlabel "length of the value"
set xtics ("100 B" 100, "1 KiB" 2**10, "16 KiB" 2**14, "256 KiB" 2**18, "1 MiB" 2**20)
plot from."/growth-value.csv" using 1:2 title columnheader ls 1, "" using 1:3 title columnheader ls 2
set xlabel "tags"
set xtics autofreq
set yrange [0.05:1000]
plot from."/growth-tags.csv" using 1:2 title columnheader ls 1, "" using 1:3 title columnheader ls 3, \
     "" using 1:4 title columnheader ls 2
set xlabel "entries in the log"
set xtics ("1" 1, "1000" 1000, "10 000" 1e4, "100 000" 1e5)
set ylabel "ms"
set logscale x 10
set yrange [10:10000]
plot from."/growth-log.csv" using 1:($2/1000) title columnheader ls 1
unset multiplot

set output to."/users.png"
set terminal pngcairo size 700,420 font "DejaVu Sans,10" linewidth 1.5 background "white"
set xlabel "users"
set xtics ("200" 200, "2000" 2e3, "20 000" 2e4, "200 000" 2e5)
set yrange [0.1:1000]
plot from."/growth-users.csv" using 1:($2/1000) title columnheader ls 1, "" using 1:($3/1000) title columnheader ls 2, \
     "" using 1:($6/1000) title columnheader ls 3

set output to."/latency.png"
set terminal pngcairo size 1200,420 font "DejaVu Sans,10" linewidth 1.5 background "white"
set style data lines
set yrange [*:*]
set xrange [1:4000]
set xlabel "share of all times that are longer"
set ylabel "µs"
set xtics ("50 %%" 2, "10 %%" 10, "1 %%" 100, "0.1 %%" 1000)
set multiplot layout 1,3 title "How times are spread"
plot from."/latency-fetch.csv" using 1:2 title columnheader ls 1, "" using 1:3 title columnheader ls 2
plot from."/latency-invalidate.csv" using 1:2 title columnheader ls 1, "" using 1:3 title columnheader ls 3, \
     "" using 1:4 title columnheader ls 2
plot from."/latency-put.csv" using 1:2 title columnheader ls 1, "" using 1:3 title columnheader ls 2
unset multiplot
