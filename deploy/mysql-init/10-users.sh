#!/bin/sh
# The three users that are not root. Runs once, when the mysql volume is empty; and by hand, after an upgrade or when
# passwords have changed in .env (docker compose exec mysql sh /docker-entrypoint-initdb.d/10-users.sh).
# clipwatch: the recorder; reads and writes rows of its own database, and cannot change a table.
# migrator:  the recorder's start; changes the tables, and lets grafana read some of them.
# grafana:   reads what dashboards show: the recorder's start grants that, once the tables are there.
# Written for sh and bash, run or sourced: the image does one or the other, by the file's mode.

clipwatch_sql_text() {
    # one SQL string: backslashes and quotes doubled, so that any password works
    printf "'%s'" "$(printf '%s' "$1" | sed -e 's/\\/\\\\/g' -e "s/'/''/g")"
}

clipwatch_user() { # NAME PASSWORD: there, with this password, and without any right
    password=$(clipwatch_sql_text "$2")
    cat <<SQL
CREATE USER IF NOT EXISTS '$1'@'%' IDENTIFIED BY $password;
ALTER USER '$1'@'%' IDENTIFIED BY $password;
REVOKE ALL PRIVILEGES, GRANT OPTION FROM '$1'@'%';
SQL
}

clipwatch_users() {
    : "${CLIPWATCH_PASSWORD:?is not set}" "${MIGRATOR_PASSWORD:?is not set}" "${GRAFANA_PASSWORD:?is not set}"
    : "${MYSQL_DATABASE:?is not set}"
    MYSQL_PWD=$MYSQL_ROOT_PASSWORD mysql --protocol=socket --user=root --default-character-set=utf8mb4 <<SQL
$(clipwatch_user clipwatch "$CLIPWATCH_PASSWORD")
GRANT SELECT, INSERT, UPDATE, DELETE ON \`$MYSQL_DATABASE\`.* TO 'clipwatch'@'%';
$(clipwatch_user migrator "$MIGRATOR_PASSWORD")
GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, REFERENCES
   ON \`$MYSQL_DATABASE\`.* TO 'migrator'@'%' WITH GRANT OPTION;
$(clipwatch_user grafana "$GRAFANA_PASSWORD")
ALTER USER 'grafana'@'%' WITH MAX_USER_CONNECTIONS 20;
SQL
}

clipwatch_users
