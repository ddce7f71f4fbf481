//! Configurations as people write them, and what comes of them.

use super::*;

const FILE: &str = "/etc/server.properties";

fn properties(text: &str) -> Loader {
    Loader::new().properties(text, Path::new(FILE)).expect("the syntax is right")
}

fn error(loader: Loader) -> String {
    loader.finish().expect_err("it is wrong").to_string()
}

#[test]
fn no_configuration_is_a_configuration() {
    let config = Loader::new().finish().expect("defaults are valid");
    assert_eq!(config.node_id, BrokerId(1));
    assert_eq!(config.data_dirs, [PathBuf::from("./highwater-data")]);
    assert_eq!(config.listeners.len(), 1);
    assert_eq!(config.listeners[0].bind.to_string(), "127.0.0.1:9092");
    assert_eq!((config.admin, config.warnings), (None, Vec::new()));
    assert_eq!(config.peer.to_string(), "127.0.0.1:0", "other machines are let in by who asks for it");
    assert_eq!(config.peer_advertised, None);
}

#[test]
fn what_has_no_effect_is_told() {
    let loader = Loader::new()
        .set_argument("queued.max.request.bytes=1000000")
        .set_argument("listener.name.plaintext.max.connections=7")
        .set_argument("listener.name.plaintext.num.partitions=3");
    let config = loader.finish().expect("all of it is valid");
    let [first, second] = config.warnings.as_slice() else { panic!("{:?}", config.warnings) };
    assert!(first.contains("num.partitions has no effect for a single listener"), "{first}");
    assert!(second.contains("queued.max.request.bytes is accepted, but has no effect yet"), "{second}");
    assert_eq!(config.broker.listener_limits["PLAINTEXT"].connections_max, Some(7));
}

#[test]
fn kafkas_own_server_properties_are_taken() {
    let config = properties(
        "process.roles=broker,controller\nnode.id=3\ncontroller.quorum.bootstrap.servers=localhost:9093\n\
         listeners=PLAINTEXT://:9092,CONTROLLER://:9093\ninter.broker.listener.name=PLAINTEXT\n\
         advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093\n\
         controller.listener.names=CONTROLLER\n\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL\n\
         num.network.threads=3\nnum.io.threads=8\nsocket.send.buffer.bytes=102400\n\
         log.dirs=/tmp/kraft-combined-logs\nnum.partitions=1\nnum.recovery.threads.per.data.dir=1\n\
         offsets.topic.replication.factor=1\ntransaction.state.log.min.isr=1\nlog.retention.hours=168\n\
         log.segment.bytes=1073741824\nlog.retention.check.interval.ms=300000\n",
    )
    .finish()
    .expect("Kafka takes it, too");
    assert_eq!(config.node_id, BrokerId(3));
    assert_eq!(config.listeners.len(), 1, "the controller's is not for clients");
    assert_eq!(config.peer.to_string(), ":9093", "but for other nodes");
    assert_eq!(config.peer_advertised.map(|at| at.to_string()).as_deref(), Some("localhost:9093"));
    assert_eq!(config.bootstrap_servers, [], "there is nobody but itself to ask");
    assert!(!config.warnings.iter().any(|line| line.contains("controller.quorum")), "{:?}", config.warnings);
    assert_eq!(config.data_dirs, [PathBuf::from("/tmp/kraft-combined-logs")]);
    let threads = format!("{FILE}:9: num.network.threads is accepted, but has no effect yet");
    assert!(config.warnings.contains(&threads), "{:?}", config.warnings);
    assert_eq!(config.fixed.get("broker.id").map(String::as_str), Some("3"));
}

#[test]
fn roles_are_what_a_node_plays() {
    let roles = |text: &str| properties(text).finish().map(|config| (config.roles, config.listeners.len()));
    let both = Roles { broker: true, controller: true };
    assert_eq!(roles(""), Ok((both, 1)));
    assert_eq!(roles("process.roles=controller,broker"), Ok((both, 1)));
    assert_eq!(roles("process.roles=broker"), Ok((Roles { broker: true, controller: false }, 1)));
    let apart =
        "process.roles=controller\nlisteners=CONTROLLER://:9093\ncontroller.listener.names=CONTROLLER";
    let controller = Roles { broker: false, controller: true };
    assert_eq!(roles(apart), Ok((controller, 0)), "it has no listener for clients, and needs none");
    assert!(roles("process.roles=leader").is_err());
}

#[test]
fn the_later_source_wins() {
    let variables = [("HIGHWATER_NUM_PARTITIONS", "3"), ("HIGHWATER_LOG_RETENTION_MS", "7"), ("HOME", "/")];
    let config = properties("num.partitions=2\nlog.retention.ms=5\nauto.create.topics.enable=FALSE")
        .environment(variables.map(|(k, v)| (k.to_owned(), v.to_owned())), &[])
        .set_argument("num.partitions=4")
        .flag("--node-id", "node.id", "9")
        .finish()
        .expect("it is valid");
    assert_eq!((config.broker.num_partitions, config.node_id), (4, BrokerId(9)));
    assert!(!config.broker.auto_create_topics);
    let source = |name| explain(&config).into_iter().find(|e| e.name == name).map(|e| (e.value, e.source));
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(source("num.partitions"), Some((text("4"), "--set".to_owned())));
    assert_eq!(source("log.retention.ms"), Some((text("7"), "$HIGHWATER_LOG_RETENTION_MS".to_owned())));
    assert_eq!(source("auto.create.topics.enable"), Some((text("false"), format!("{FILE}:3"))));
    assert_eq!(source("log.segment.bytes"), Some((text("1073741824"), "default".to_owned())));
}

#[test]
fn unknown_names_are_warnings_in_properties_and_errors_elsewhere() {
    let config =
        properties("num.partition=2\nmy.plugin.setting=x\nretention.ms=5").finish().expect("as Kafka");
    assert_eq!(
        config.warnings,
        [
            format!(
                "{FILE}:1: Unknown broker config name: num.partition (did you mean num.partitions?); it has no effect"
            ),
            format!("{FILE}:2: Unknown broker config name: my.plugin.setting; it has no effect"),
            format!(
                "{FILE}:3: retention.ms is a setting of topics; the broker's default for it is log.retention.ms; it has no effect"
            ),
        ]
    );
    assert_eq!(
        error(Loader::new().toml("num.partition = 2", Path::new("c.toml")).expect("the syntax is right")),
        "c.toml: Unknown broker config name: num.partition (did you mean num.partitions?)"
    );
    assert_eq!(
        error(Loader::new().set_argument("num.partition=2")),
        "--set: Unknown broker config name: num.partition (did you mean num.partitions?)"
    );
    let variables = [("HIGHWATER_NUM_PARTITION".to_owned(), "2".to_owned())];
    let config = Loader::new().environment(variables.clone(), &[]).finish().expect("a warning");
    assert_eq!(config.warnings.len(), 1);
    let config = Loader::new().environment(variables, &["HIGHWATER_NUM_PARTITION"]).finish().expect("valid");
    assert_eq!(config.warnings.len(), 0);
}

#[test]
fn all_problems_are_told_at_once() {
    let loader =
        properties("num.partitions=0\nlog.retention.ms=0\nbroker.id=5\nnode.id=6\nlisteners=SSL://:1");
    assert_eq!(
        error(loader),
        format!(
            "{FILE}:1: Invalid value 0 for configuration num.partitions: Value must be at least 1\n\
             You must set `node.id` to the same value as `broker.id`.\n\
             listener SSL asks for SSL, but only PLAINTEXT is served yet\n\
             log.retention.ms must be unlimited (-1) or, greater than or equal to 1"
        )
    );
}

#[test]
fn where_other_nodes_connect() {
    let config =
        properties("highwater.peer.listener=0.0.0.0:9192\nhighwater.peer.advertised.listener=b1:9192")
            .flag("--peer-listen", "highwater.peer.listener", "[::1]:7")
            .finish()
            .expect("it is valid");
    assert_eq!(config.peer.to_string(), "[::1]:7");
    assert_eq!(config.peer_advertised.map(|at| at.to_string()).as_deref(), Some("b1:9192"));
    let wrong = error(properties("highwater.peer.listener=nowhere"));
    assert_eq!(wrong, "highwater.peer.listener: 'nowhere' is not HOST:PORT");
    assert_eq!(error(properties("highwater.peer.listener=")), "highwater.peer.listener must not be empty");
}

#[test]
fn what_would_be_unsafe_without_effect_is_an_error() {
    let refused =
        error(properties("authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer"));
    assert!(refused.contains("authorizer.class.name"), "{refused}");
}

#[test]
fn flags_for_listeners() {
    let config = properties("listeners=PLAINTEXT://:9092\nadvertised.listeners=PLAINTEXT://b:1")
        .listen("[::1]:0")
        .finish()
        .expect("it is valid");
    assert_eq!(config.listeners[0].bind.to_string(), "[::1]:0");
    assert_eq!(config.listeners[0].advertised, None);
    assert_eq!(config.fixed.get("advertised.listeners"), None, "it is described as not set");
    let config = Loader::new().listen("0.0.0.0:9").advertise("b:8").finish().expect("it is valid");
    assert_eq!(config.listeners[0].advertised.as_ref().map(ToString::to_string).as_deref(), Some("b:8"));
}

#[test]
fn our_own_variables_need_not_say_the_name_twice() {
    let variables = [("HIGHWATER_ACKS_DURABLE".to_owned(), "true".to_owned())];
    let config = Loader::new().environment(variables, &[]).finish().expect("it is valid");
    assert_eq!(config.fixed.get("highwater.acks.durable").map(String::as_str), Some("true"));
}

#[test]
fn a_file_says_its_format_by_its_name() {
    let dir = tempfile::tempdir().expect("a directory");
    let (toml, kafka) = (dir.path().join("a.toml"), dir.path().join("a.properties"));
    std::fs::write(&toml, "[num]\npartitions = 6\n").expect("written");
    std::fs::write(&kafka, "num.partitions=7\n").expect("written");
    for (path, partitions) in [(&toml, 6), (&kafka, 7)] {
        let config = Loader::new().file(path).expect("readable").finish().expect("valid");
        assert_eq!(config.broker.num_partitions, partitions);
    }
    let missing = Loader::new().file(&dir.path().join("none")).expect_err("there is none");
    assert!(missing.to_string().contains("none: "), "{missing}");
    std::fs::write(&kafka, [0xff]).expect("written");
    assert!(Loader::new().file(&kafka).is_err());
}

#[test]
fn every_topic_setting_is_in_the_table() {
    let table = topic_settings();
    assert_eq!(table.len(), TOPIC.definitions().count());
    let class = |name| table.iter().find(|setting| setting.name == name).map(|setting| setting.class);
    assert_eq!(class("retention.ms"), Some("honoured"));
    assert_eq!(class("remote.storage.enable"), Some("refused"));
    assert_eq!(class("local.retention.ms"), Some("accepted"));
}

/// A node of a cluster as Kafka's users write it down, with `settings` beside that.
fn quorum(settings: &str) -> Result<NodeConfig, ConfigError> {
    properties(&format!(
        "listeners=PLAINTEXT://:9092,CONTROLLER://:9093\ncontroller.listener.names=CONTROLLER\n{settings}"
    ))
    .finish()
}

#[test]
fn voters_are_named_as_kafka_names_them() {
    let voters = "controller.quorum.voters=1@a:9093, 2@b:9093,3@[::1]:9093\n";
    let config =
        quorum(&format!("node.id=2\nprocess.roles=broker,controller\n{voters}")).expect("Kafka takes it");
    let named: Vec<_> = config.voters.iter().map(ToString::to_string).collect();
    assert_eq!(named, ["1@a:9093", "2@b:9093", "3@[::1]:9093"]);
    assert_eq!(config.peer.to_string(), ":9093");
    let advertised = config.peer_advertised.map(|at| at.to_string());
    assert_eq!(advertised.as_deref(), Some("b:9093"), "as the others look for it");
    assert!(!config.warnings.iter().any(|line| line.contains("quorum.voters")), "{:?}", config.warnings);

    let broker = quorum(&format!("node.id=4\nprocess.roles=broker\n{voters}")).expect("it has no vote");
    assert_eq!(broker.voters.len(), 3);
    let own = "highwater.peer.listener=10.0.0.4:9192\n";
    let set = quorum(&format!("node.id=2\n{own}{voters}")).expect("it says more than Kafka can");
    assert_eq!((set.peer.to_string().as_str(), set.peer_advertised), ("10.0.0.4:9192", None));
    for (settings, why) in [
        ("node.id=4\nprocess.roles=controller\n", "node id 4 must be included in the set of voters"),
        ("node.id=2\nprocess.roles=broker\n", "node id 2 must not be included in the set of voters"),
    ] {
        let error = quorum(&format!("{settings}{voters}")).expect_err(settings);
        assert!(error.to_string().contains(why), "{error}");
    }
    for (voters, why) in [
        ("a:9093", "'a:9093' is not ID@HOST:PORT"),
        ("1@a:9093:AAAAAAAAAAAAAAAAAAAAAA", "is not ID@HOST:PORT"),
        ("1@a:9093,1@b:9093", "names node 1 twice"),
    ] {
        let error = quorum(&format!("controller.quorum.voters={voters}\n")).expect_err(voters);
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[test]
fn bootstrap_servers_are_the_others() {
    let servers = |settings: &str| -> Vec<String> {
        let config = quorum(settings).expect("it is valid");
        config.bootstrap_servers.iter().map(ToString::to_string).collect()
    };
    let both = "controller.quorum.bootstrap.servers=a:9093,localhost:9093,[::1]:9093,a:9093,localhost:9094\n";
    assert_eq!(servers(both), ["a:9093", "localhost:9094"], "each once, and without this node");
    let at_a =
        format!("highwater.peer.listener=0.0.0.0:9093\nhighwater.peer.advertised.listener=A:9093\n{both}");
    assert_eq!(servers(&at_a), ["localhost:9094"]);
    assert_eq!(servers("node.id=1\n"), Vec::<String>::new());
    for (server, why) in [("a", "is not HOST:PORT"), ("a:0", "nowhere to connect to"), (":9093", "nowhere")] {
        let error = quorum(&format!("controller.quorum.bootstrap.servers={server}\n")).expect_err(server);
        assert!(error.to_string().contains(why), "{error}");
    }
}

/// What nodes say to each other is not protected: where a controller listener is to be, it is not taken.
#[test]
fn a_protected_controller_listener_is_not_opened_in_plain_text() {
    let config =
        quorum("listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:SSL\n").expect("it is valid");
    assert_eq!(config.peer.to_string(), "127.0.0.1:0");
}
