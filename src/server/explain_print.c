/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What was found out about a question, for people and for programs.
 */
#include <stdlib.h>
#include <string.h>

#include "server/explain_inner.h"

enum { STATEMENT_MAX = 160 };

/* ------------------------------------------------------------------ as it was written */

static struct source *
source_of(struct sources *files, struct span at)
{
	return at.file != 0 && at.file <= files->count ? files->items[at.file - 1] : NULL;
}

/* Where the string or the comment ends that begins there; `from` itself where there is none. */
static size_t
behind_quoted(struct slice text, size_t from)
{
	char quote = text.at[from];
	size_t at = from + 1;

	if (quote == '#') {
		while (at < text.n && text.at[at] != '\n')
			at++;
		return at;
	}
	while (at < text.n && text.at[at] != quote)
		at += text.at[at] == '\\' ? 2 : 1;
	return MIN_OF(at + 1, text.n);
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

struct slice
explain_statement(struct arena *a, struct sources *files, struct span at)
{
	const struct source *s = source_of(files, at);
	struct slice text = s != NULL ? slice_after(s->text, MIN_OF(s->text.n, (size_t)at.at)) :
					SLICE_EMPTY;
	struct builder b = builder_on(arena_alloc(a, STATEMENT_MAX + 8), STATEMENT_MAX);
	bool blank = false;
	size_t i = 0, next;

	for (; i < text.n && strchr(";{}", text.at[i]) == NULL && !b.full; i = next) {
		char c = text.at[i];
		bool comment = c == '#' && blank;

		next = i + 1;
		if (c == '"' || c == '\'' || comment)
			next = behind_quoted(text, i);
		if (is_blank(c) || comment) {
			blank = true;
			continue;
		}
		if (blank && b.n > 0)
			builder_byte(&b, ' ');
		builder_put(&b, text.at + i, next - i);
		blank = false;
	}
	if (b.full) {
		b.size += 8;
		BUILDER_LITERAL(&b, "…");
	}
	return builder_slice(&b);
}

struct slice
explain_route_words(struct arena *a, struct sources *files, const struct route *route)
{
	struct slice all = explain_statement(a, files, route->span);

	/* The steps of a server without routes are one: it has the server's place. */
	if (!slice_starts(all, SLICE("route ")))
		return SLICE_EMPTY;
	return slice_after(all, strlen("route "));
}

bool
explain_line(const struct step *step, size_t nth, struct span *at)
{
	if (step->ops->line != NULL)
		return step->ops->line(step, nth, at);
	*at = step->span;
	return nth == 0;
}

void
explain_place(struct sources *files, struct span at, FILE *to)
{
	struct source *s = source_of(files, at);
	unsigned line, column;

	if (s == NULL)
		return;
	source_place(s, at.at, &line, &column);
	fprintf(to, "  (" SLICE_FORMAT ":%u)", SLICE_ARG(s->shown), line);
}

/* ------------------------------------------------------------------ for people */

void
explain_plain_begin(struct explain_plain *p)
{
	*p = (struct explain_plain){ .n = 0 };
	p->at = open_memstream(&p->text, &p->n);
	if (p->at == NULL)
		memory_gone();
}

void
explain_plain_end(struct explain_plain *p, FILE *to)
{
	if (fclose(p->at) != 0)
		memory_gone();
	for (size_t i = 0, n; i < p->n; i += n) {
		struct slice rest = slice_make(p->text + i, p->n - i);

		if (utf8_printable(rest, &n) || rest.at[0] == '\n' || rest.at[0] == '\t')
			fwrite(rest.at, 1, n, to);
		else
			fputc('?', to);
	}
	free(p->text);
}

static void
put(FILE *to, const char *label, struct slice text)
{
	fprintf(to, "%-10s" SLICE_FORMAT, label, SLICE_ARG(text));
}

/* A line below another, of the same thing; nothing, where there is no text. */
static void
put_below(FILE *to, const char *word, struct slice text)
{
	if (text.n > 0)
		fprintf(to, "          %s" SLICE_FORMAT "\n", word, SLICE_ARG(text));
}

static void
print_route(const struct explanation *x, const struct told_route *told, bool fits, FILE *to)
{
	struct slice words = explain_route_words(x->arena, x->files, told->route);

	put(to, "route", words.n > 0 ? words : SLICE("(every question)"));
	explain_place(x->files, told->route->span, to);
	fputc('\n', to);
	put_below(to, fits ? "yes: " : "no: ", told->why);
}

static void
print_captures(const struct explanation *x, FILE *to)
{
	for (size_t i = 0; i < x->capture_count; i++) {
		struct builder b = builder_on(arena_alloc(x->arena, 1024), 1024);

		builder_slice_put(&b, x->captures[i].name);
		BUILDER_LITERAL(&b, " is");
		text_show_slice(x->captures[i].value, &b);
		put(to, "capture", builder_slice(&b));
		fputc('\n', to);
	}
}

/* Those that are shown: the one that decided, or all. */
static bool
step_line(const struct told_step *told, size_t nth, struct span *at)
{
	if (told->line.file == 0)
		return explain_line(told->step, nth, at);
	*at = told->line;
	return nth == 0;
}

static void
print_step(const struct explanation *x, const struct told_step *told, FILE *to)
{
	static const char *const words[] = {
		[TOLD_RUNS] = "yes: ", [TOLD_PASSED] = "no: ",
	};
	static const char *const instead[] = {
		[TOLD_LATER] = "runs when the answer comes",
		[TOLD_UNREACHED] = "is not reached",
	};

	struct span at;

	for (size_t i = 0; step_line(told, i, &at); i++) {
		put(to, told->of_error ? "error" : "step",
		    explain_statement(x->arena, x->files, at));
		explain_place(x->files, at, to);
		fputc('\n', to);
	}
	if (told->fate == TOLD_LATER || told->fate == TOLD_UNREACHED) {
		put_below(to, "", slice_of(instead[told->fate]));
		return;
	}
	put_below(to, words[told->fate], told->why);
	put_below(to, "", told->does);
}

static void
print_peers(const struct upstream *u, FILE *to)
{
	for (size_t i = 0; i < u->peer_count; i++) {
		const struct peer *p = &u->peers[i];

		put(to, "peer", p->text);
		if (p->weight != 1)
			fprintf(to, " weight=%u", p->weight);
		fprintf(to, "%s%s\n", p->backup ? " backup" : "", p->down ? " down" : "");
	}
}

static void
print_server(const struct explanation *x, FILE *to)
{
	put(to, "server", x->server->name);
	explain_place(x->files, x->server->span, to);
	fputc('\n', to);
	put_below(to, "", slice_of(x->server_why));
	for (size_t i = 0; i < x->earlier_count; i++)
		print_route(x, &x->earlier[i], false, to);
	if (x->unshown > 0)
		fprintf(to, "          … and %zu more whose pattern does not match\n", x->unshown);
	if (x->route.route != NULL)
		print_route(x, &x->route, true, to);
	print_captures(x, to);
}

void
explain_print(const struct explanation *x, FILE *to)
{
	const struct listener *l = x->listener;

	put(to, "question", x->question.n > 0 ? x->question : SLICE("(a connection)"));
	fprintf(to, "\n%-10s" SLICE_FORMAT "\n", "from", SLICE_ARG(x->src));
	if (x->note != NULL)
		fprintf(to, "%-10s%s\n", "note", x->note);
	put(to, "listener", l->text);
	fprintf(to, ", protocol %s\n", l->protocol->name);
	put_below(to, "--listener chooses another: ", x->others);
	if (x->server != NULL)
		print_server(x, to);
	for (size_t i = 0; i < x->step_count; i++)
		print_step(x, &x->steps[i], to);
	if (x->upstream != NULL)
		print_peers(x->upstream, to);
	put(to, "answer", x->answer);
	fputc('\n', to);
}

/* ------------------------------------------------------------------ for programs */

void
explain_json_text(FILE *to, const char *name, struct slice text)
{
	struct builder b = builder_on(memory_alloc(6 * text.n + 1), 6 * text.n + 1);

	builder_json(&b, text);
	fprintf(to, "\"%s\":\"" SLICE_FORMAT "\"", name, SLICE_ARG(builder_slice(&b)));
	free(b.at);
}

void
explain_json_place(struct sources *files, struct span at, FILE *to)
{
	struct source *s = source_of(files, at);
	unsigned line, column;

	if (s == NULL)
		return;
	source_place(s, at.at, &line, &column);
	fputc(',', to);
	explain_json_text(to, "file", s->shown);
	fprintf(to, ",\"line\":%u", line);
}

static void
json_more(FILE *to, const char *name, struct slice text)
{
	if (text.n == 0)
		return;
	fputc(',', to);
	explain_json_text(to, name, text);
}

static void
json_route(const struct explanation *x, const struct told_route *told, bool fits, FILE *to)
{
	fputc('{', to);
	explain_json_text(to, "route", explain_route_words(x->arena, x->files, told->route));
	explain_json_place(x->files, told->route->span, to);
	fprintf(to, ",\"matches\":%s", fits ? "true" : "false");
	json_more(to, "why", told->why);
	fputc('}', to);
}

static void
json_server(const struct explanation *x, FILE *to)
{
	fputs(",\"server\":{", to);
	explain_json_text(to, "name", x->server->name);
	explain_json_place(x->files, x->server->span, to);
	json_more(to, "why", slice_of(x->server_why));
	fputs("},\"earlier\":[", to);
	for (size_t i = 0; i < x->earlier_count; i++) {
		fputs(i > 0 ? "," : "", to);
		json_route(x, &x->earlier[i], false, to);
	}
	fprintf(to, "],\"unshown\":%zu", x->unshown);
	if (x->route.route == NULL)
		return;
	fputs(",\"route\":", to);
	json_route(x, &x->route, true, to);
	fputs(",\"captures\":[", to);
	for (size_t i = 0; i < x->capture_count; i++) {
		fputs(i > 0 ? ",{" : "{", to);
		explain_json_text(to, "name", x->captures[i].name);
		json_more(to, "value", x->captures[i].value);
		fputc('}', to);
	}
	fputc(']', to);
}

static void
json_step(const struct explanation *x, const struct told_step *told, FILE *to)
{
	static const char *const fates[] = {
		[TOLD_RUNS] = "runs", [TOLD_PASSED] = "passed over", [TOLD_LATER] = "later",
		[TOLD_UNREACHED] = "not reached",
	};

	struct span at;
	size_t count = 0;

	for (size_t i = 0; step_line(told, i, &at); i++) {
		fputs(i == 0 ? "{" : i == 1 ? ",\"also\":[{" : ",{", to);
		explain_json_text(to, "step", explain_statement(x->arena, x->files, at));
		explain_json_place(x->files, at, to);
		fputs(i > 0 ? "}" : "", to);
		count = i;
	}
	fputs(count > 0 ? "]" : "", to);
	fprintf(to, ",\"error\":%s,\"state\":\"%s\"", told->of_error ? "true" : "false",
	    fates[told->fate]);
	json_more(to, "why", told->why);
	json_more(to, "does", told->does);
	fputc('}', to);
}

static void
json_upstream(const struct upstream *u, FILE *to)
{
	fputs(",\"upstream\":{", to);
	explain_json_text(to, "name", u->name);
	fputs(",\"peers\":[", to);
	for (size_t i = 0; i < u->peer_count; i++) {
		const struct peer *p = &u->peers[i];

		fputs(i > 0 ? ",{" : "{", to);
		explain_json_text(to, "address", p->text);
		fprintf(to, ",\"weight\":%u,\"backup\":%s,\"down\":%s}", p->weight,
		    p->backup ? "true" : "false", p->down ? "true" : "false");
	}
	fputs("]}", to);
}

void
explain_print_json(const struct explanation *x, FILE *to)
{
	fputc('{', to);
	explain_json_text(to, "question", x->question);
	json_more(to, "src", x->src);
	json_more(to, "listener", x->listener->text);
	json_more(to, "protocol", slice_of(x->listener->protocol->name));
	if (x->note != NULL)
		json_more(to, "note", slice_of(x->note));
	if (x->server != NULL)
		json_server(x, to);
	fputs(",\"steps\":[", to);
	for (size_t i = 0; i < x->step_count; i++) {
		fputs(i > 0 ? "," : "", to);
		json_step(x, &x->steps[i], to);
	}
	fputc(']', to);
	if (x->upstream != NULL)
		json_upstream(x->upstream, to);
	fprintf(to, ",\"status\":%u,", x->status);
	explain_json_text(to, "reason", slice_of(reason_texts[x->reason].word));
	json_more(to, "answer", x->answer);
	fputs("}\n", to);
}
