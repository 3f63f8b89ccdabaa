from shipway.services.readiness.logs import read_logs


def test_lines_are_parsed_and_know_their_place(tmp_path):
    (tmp_path / "gateway-0.log").write_text('{"event": "request"}\nplain\n[1]\n')
    (tmp_path / "control.log").write_text('{"event": "request"}\n')

    lines = read_logs(tmp_path).lines

    assert [line.fields for line in lines] == [{"event": "request"}, None, None]
    assert lines[0].where == ".shipway/logs/gateway-0.log, line -2 from its end"
    assert lines[-1].where == ".shipway/logs/gateway-0.log, last line"


def test_of_a_long_log_only_whole_lines_of_its_end_are_read(tmp_path):
    (tmp_path / "gateway.log").write_text("".join(f"{number:06d} {'x' * 100}\n" for number in range(5000)))

    lines = read_logs(tmp_path).lines

    assert 1000 < len(lines) < 5000
    assert lines[0].text.split()[0] == f"{5000 - len(lines):06d}"
